"""Sessions that have expired leave the database."""

from importlib import import_module

from django.conf import settings


def clean_up() -> None:
    """Delete them, as Django's `clearsessions` does."""
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()
