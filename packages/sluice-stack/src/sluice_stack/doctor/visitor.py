"""The visitor: a user without rights and password, signed in while the checks run, and deleted afterwards.

Only signed-in users receive updates. The doctor uses no existing account.
"""

from __future__ import annotations

import datetime
import secrets
from typing import Final

from django.conf import settings
from django.db import DatabaseError, connection

from .finding import Skipped, one_line

_NAME: Final = "doctor-"  # followed by random letters
# If a doctor is killed, the next one deletes its user after this time. No run takes that long.
_LEFT_BEHIND: Final = datetime.timedelta(minutes=10)
_SESSION_SECONDS: Final = 300


class Visitor:
    """The user is created when a check first needs it."""

    def __init__(self, *, allowed: bool = True) -> None:
        """`allowed`: whether the doctor may write to the database."""
        self._allowed = allowed
        self._user_id: int | None = None
        self._session = ""

    def cookie(self) -> str:
        """The Cookie header of the signed-in user. Raises Skipped if no user can be created here."""
        if not self._allowed:
            raise Skipped("it needs a user, and --read-only creates none")
        if not self._session:
            try:
                self._sign_in()
            except DatabaseError as error:
                raise Skipped(_explained(error)) from None
            except LookupError as error:
                self.close()
                raise Skipped(one_line(error)) from None
        return f"{settings.SESSION_COOKIE_NAME}={self._session}"

    def close(self) -> None:
        """Delete the user and its session. If that fails, the next doctor deletes them."""
        if self._user_id is None:
            return
        from django.contrib.auth import get_user_model

        try:
            get_user_model()._default_manager.filter(pk=self._user_id).delete()
            _store(self._session).delete()
        except Exception:  # the site's own session store may raise anything
            return
        finally:
            self._user_id = None
            connection.close()

    def _sign_in(self) -> None:
        from django.contrib import auth
        from django.db.models import EmailField
        from django.utils import timezone

        from sluice_updates.authentication import backend_of

        store = _store(None)
        model = auth.get_user_model()
        users, named = model._default_manager, model.USERNAME_FIELD
        if "date_joined" in {field.name for field in model._meta.fields}:
            left = {f"{named}__startswith": _NAME, "date_joined__lt": timezone.now() - _LEFT_BEHIND}
            users.filter(**left).delete()
        name = _NAME + secrets.token_hex(8)
        if isinstance(model._meta.get_field(named), EmailField):
            name += "@doctor.invalid"
        try:
            user = users.create_user(**{named: name})  # without a password: nobody can sign in
        except (TypeError, ValueError) as error:
            raise LookupError(f"the project's user model needs more than a name: {error}") from None
        self._user_id = user.pk
        store[auth.SESSION_KEY] = str(user.pk)
        store[auth.BACKEND_SESSION_KEY] = backend_of(user)
        store[auth.HASH_SESSION_KEY] = user.get_session_auth_hash()
        store.set_expiry(_SESSION_SECONDS)
        store.create()
        self._session = store.session_key


def _store(key: str | None):  # type: ignore[no-untyped-def]  # of the site's own engine
    from importlib import import_module

    return import_module(settings.SESSION_ENGINE).SessionStore(key)


def _explained(error: DatabaseError) -> str:
    if "permission denied" in str(error):
        return "this program's role may create no user; run it in wsgi (on a host: as root)"
    return f"no user could be created: {one_line(error)}"
