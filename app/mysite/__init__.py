"""The site: Django's project.

Each program of it comes by here before anything else is imported, so that a Python which is too old is told
in a sentence, and not by the first line that it can't understand. Any Python 3 can read this file.
"""

import sys

OLDEST_PYTHON = (3, 11)  # Debian 12's

if sys.version_info < OLDEST_PYTHON:
    sys.stderr.write(
        "sluice: Python {}.{} is too old: {}.{} or newer is needed,"
        " and a virtual environment made with it\n".format(*sys.version_info[:2], *OLDEST_PYTHON)
    )
    sys.exit(78)  # EX_CONFIG, as for settings that can't be used

from importlib.util import find_spec  # noqa: E402

# So that `@shared_task` uses it in every process. Celery is optional (requirements-async.txt).
if find_spec("celery"):
    from .celery import app as celery_app  # noqa: F401
