#!/usr/bin/env python
"""Django's command-line utility for administrative tasks."""

import os
import sys

import sluice_stack  # noqa: F401  (it checks the version of Python)


def main() -> None:
    """Run administrative tasks."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
