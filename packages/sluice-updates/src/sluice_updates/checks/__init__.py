"""System checks for `manage.py check`."""
