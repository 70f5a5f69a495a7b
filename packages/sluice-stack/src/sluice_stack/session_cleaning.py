"""Deletes expired sessions: a job of beat, and `manage.py clearsessions`."""

from importlib import import_module

from django.conf import settings


def clean_up() -> None:
    """Delete expired sessions, as Django's `clearsessions` does."""
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()
