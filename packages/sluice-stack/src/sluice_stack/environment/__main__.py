"""`python -m sluice_stack.environment`: check the environment. Prints nothing if it is valid."""

import os

from .reading import check, refuse

if __name__ == "__main__":
    refuse(check(os.environ), os.environ.get("SLUICE_SERVICE", ""))
