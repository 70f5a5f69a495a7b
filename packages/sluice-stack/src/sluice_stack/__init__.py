"""What a Django project needs to run in the Sluice stack.

Every program imports this package first. A Python that is too old is refused here with a sentence, before a
module that it cannot parse. Any Python 3 can read this file.
"""

import sys

OLDEST_PYTHON = (3, 11)  # Debian 12's

if sys.version_info < OLDEST_PYTHON:
    sys.stderr.write(
        "sluice: Python {}.{} is too old: {}.{} or newer is needed,"
        " and a virtual environment made with it\n".format(*sys.version_info[:2], *OLDEST_PYTHON)
    )
    sys.exit(78)  # EX_CONFIG, as for settings that cannot be used
