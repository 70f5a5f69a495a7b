"""Authentication of connections: finds session and user by one query, and later checks both again.

These functions use the database, so the hub calls them in a thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.backends import ModelBackend
from django.http.cookie import parse_cookie
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from . import history, rights, streams
from .asgi_types import Scope, headers
from .history import Reading
from .positions import Position
from .sessions import SessionStore

_SESSION_KEY: Final = re.compile(r"[!-~]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Person:
    """The user of a connection, and the session that it was opened with."""

    user_id: Any
    session_key: str
    session_hash: str  # changes with the password
    backend: str


@dataclass(frozen=True, slots=True)
class Admission:
    """What the database says about a person who connects."""

    person: Person | None  # None: not signed in
    streams: list[str]  # requested
    allowed: set[str]
    reading: Reading | None  # of the allowed streams that the hub doesn't know


def session_key(scope: Scope) -> str | None:
    """The session cookie of a request; None if there is no valid one."""
    key = parse_cookie(";".join(headers(scope, b"cookie"))).get(settings.SESSION_COOKIE_NAME, "")
    # A quoted cookie can hold any byte, also one that no database accepts.
    return key if _SESSION_KEY.fullmatch(key) else None


def authenticate(
    key: str,
    wanted: list[str] | None,
    since: Mapping[str, Position],
    is_known: Callable[[str, Position | None], bool],
    limit: int,
) -> Admission:
    """Find the person and the allowed streams, and read those streams that the hub doesn't know."""
    found = identify(key)
    if found is None:
        return Admission(None, wanted or [], set(), None)
    person, user = found
    names = wanted if wanted is not None else streams.default_streams(user.pk)
    allowed = rights.allowed(user, names)
    unknown = {
        name: since.get(name) for name in names if name in allowed and not is_known(name, since.get(name))
    }
    # The hub's window may reach back beyond what has been trimmed since.
    given = {name: since[name] for name in names if name in allowed and name in since and name not in unknown}
    if given:
        floors = history.heads(given)
        unknown |= {name: given[name] for name in given if floors[name].is_trimmed(given[name])}
    return Admission(person, names, allowed, history.read(unknown, limit) if unknown else None)


def identify(key: str) -> tuple[Person, Any] | None:
    """The session's person and user; None without a session, or if it has no user."""
    store_class = _store_class()
    user = None
    if issubclass(store_class, SessionStore):
        model = store_class.get_model_class()
        session = (
            model.objects.select_related("user")
            .filter(session_key=key, expire_date__gt=timezone.now())
            .first()
        )
        if session is None or session.user is None:
            return None
        data, user = store_class(key).decode(session.session_data), session.user
    else:
        store = store_class(key)
        data = store.load()
    return _signed_in(key, data, user)


def backend_of(user: Any) -> str:
    """Dotted path of the first backend that finds the user by primary key, as a session needs it.

    Some backends do not: they only refuse logins. Raises LookupError if none does.
    """
    for path in settings.AUTHENTICATION_BACKENDS:
        find = getattr(auth.load_backend(path), "get_user", None)
        if find is not None and find(user.pk) == user:
            return str(path)
    raise LookupError(f"no backend of AUTHENTICATION_BACKENDS has a get_user() that finds {user}")


def ended(people: Iterable[Person]) -> tuple[set[Person], dict[Any, Any]]:
    """The people whose session has ended, for any reason, and the users by id."""
    people = list(people)
    living = _living({person.session_key for person in people})
    users = auth.get_user_model()._base_manager.in_bulk({person.user_id for person in people})
    over = set()
    for person in people:
        user = users.get(person.user_id)
        if person.session_key not in living or user is None or not _is_good(person, user):
            over.add(person)
    return over, users


def _signed_in(key: str, data: Mapping[str, Any], joined: Any | None) -> tuple[Person, Any] | None:
    """Like django.contrib.auth.get_user(), but with a user that was read already, and without writing."""
    path = data.get(auth.BACKEND_SESSION_KEY)
    if auth.SESSION_KEY not in data or path is None or path not in settings.AUTHENTICATION_BACKENDS:
        return None
    user_id = auth.get_user_model()._meta.pk.to_python(data[auth.SESSION_KEY])
    backend = auth.load_backend(path)
    if joined is not None and type(backend).get_user is ModelBackend.get_user and joined.pk == user_id:
        user = joined if backend.user_can_authenticate(joined) else None
    else:
        user = backend.get_user(user_id)
    if user is None:
        return None
    person = Person(user.pk, key, data.get(auth.HASH_SESSION_KEY) or "", path)
    return (person, user) if _hash_is_good(person, user) else None


def _is_good(person: Person, user: Any) -> bool:
    may = getattr(auth.load_backend(person.backend), "user_can_authenticate", None)
    return (may(user) if may is not None else getattr(user, "is_active", True)) and _hash_is_good(
        person, user
    )


def _hash_is_good(person: Person, user: Any) -> bool:
    if not hasattr(user, "get_session_auth_hash"):
        return True
    if constant_time_compare(person.session_hash, user.get_session_auth_hash()):
        return True
    return any(
        constant_time_compare(person.session_hash, old) for old in user.get_session_auth_fallback_hash()
    )


def _living(keys: set[str]) -> set[str]:
    """The sessions that still exist."""
    store_class = _store_class()
    if hasattr(store_class, "get_model_class"):
        sessions = store_class.get_model_class().objects
        return set(
            sessions.filter(session_key__in=keys, expire_date__gt=timezone.now()).values_list(
                "session_key", flat=True
            )
        )
    return {key for key in keys if auth.SESSION_KEY in store_class(key).load()}


def _store_class() -> Any:
    return import_module(settings.SESSION_ENGINE).SessionStore
