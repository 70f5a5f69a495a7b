"""What a Django project needs to run in the Sluice stack.

Every program imports this package first. So the version of Python is checked here, before a module with newer
syntax is imported. This file must run on any Python 3.
"""

import sys

OLDEST_PYTHON = (3, 11)  # Debian 12's

if sys.version_info < OLDEST_PYTHON:
    sys.stderr.write(
        "sluice: Python {}.{} is too old: install {}.{} or newer,"
        " and create the virtual environment with it\n".format(*sys.version_info[:2], *OLDEST_PYTHON)
    )
    sys.exit(78)  # EX_CONFIG, as for invalid settings
