#!/usr/bin/env python
"""Django's command line for this project."""

import os
import sys

import mysite  # noqa: F401  (refuses a Python that is too old, before Django is missed)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
