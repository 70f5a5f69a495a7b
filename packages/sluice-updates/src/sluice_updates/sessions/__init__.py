"""Django's database sessions with the user's id in a column: a connection needs one query instead of two.

    INSTALLED_APPS += ["sluice_updates.sessions"]
    SESSION_ENGINE = "sluice_updates.sessions"

Everything else is like Django's own. A project with those, or with any other engine, works too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.sessions.backends.db import SessionStore as DatabaseSessionStore

if TYPE_CHECKING:
    from .models import Session


class SessionStore(DatabaseSessionStore):
    """Stores in each row whose session it is."""

    def _validate_session_key(self, key: str) -> bool:
        # A quoted cookie can hold any byte, also one that no database accepts.
        return bool(super()._validate_session_key(key)) and key.isascii() and key.isprintable()

    @classmethod
    def get_model_class(cls) -> type[Session]:
        from .models import Session  # not before Django's apps are loaded

        return Session

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        return _owned(super().create_model_instance(data), data)

    async def acreate_model_instance(self, data: dict[str, Any]) -> Session:
        return _owned(await super().acreate_model_instance(data), data)


def _owned(session: Session, data: dict[str, Any]) -> Session:
    from django.contrib.auth import SESSION_KEY, get_user_model

    user_id = data.get(SESSION_KEY)
    session.user_id = None if user_id is None else get_user_model()._meta.pk.to_python(user_id)
    return session
