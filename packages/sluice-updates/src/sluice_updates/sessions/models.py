"""The table of sessions."""

from __future__ import annotations

from django.conf import settings
from django.contrib.sessions.base_session import AbstractBaseSession, BaseSessionManager
from django.db import models

from . import SessionStore


class Session(AbstractBaseSession):
    """A session and the user signed in by it, if any."""

    # Without a constraint: a session may be saved while its user is being deleted, and that is no error.
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE, db_constraint=False, related_name="+"
    )

    objects = BaseSessionManager()

    class Meta(AbstractBaseSession.Meta):
        db_table = "sluice_updates_session"

    @classmethod
    def get_session_store_class(cls) -> type[SessionStore]:
        return SessionStore
