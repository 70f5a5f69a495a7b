"""Authentication of connections: finds sessions and users by one query, and later checks both again.

These functions use the database, so the hub calls them in a thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import Error as DatabaseError
from django.db import ProgrammingError, connections, router
from django.db.models import Manager
from django.http.cookie import parse_cookie
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from .asgi_types import Scope, headers
from .sessions import SessionStore

_SESSION_KEY: Final = re.compile(r"[!-~]+", re.ASCII)


class Person(NamedTuple):
    """The user of a connection, and the session that it was opened with. A tuple, because each audit hashes
    all of them several times.
    """

    user_id: Any
    session_key: str
    session_hash: str  # changes with the password
    backend: str


class Anonymous(NamedTuple):
    """A reader who is not signed in. All of them have the same rights; limits know them by their address."""

    address: str  # as addresses.group() has it; empty: unknown


Identity = tuple[Person, Any]
"""A person, and the user's model instance."""


def session_key(scope: Scope) -> str | None:
    """The session cookie of a request; None if there is no valid one."""
    key = parse_cookie(";".join(headers(scope, b"cookie"))).get(settings.SESSION_COOKIE_NAME, "")
    # A quoted cookie can hold any byte, also one that no database accepts.
    return key if _SESSION_KEY.fullmatch(key) else None


def identify(key: str) -> Identity | None:
    """The session's person and user; None without a session, or if it has no user."""
    (found,) = identify_all([key])
    if isinstance(found, Exception):
        raise found
    return found


def identify_all(keys: Sequence[str]) -> list[Identity | Exception | None]:
    """The same for many sessions, by one query where the session table names the user.

    An error that concerns one session only, such as one of a custom backend, is returned in its place. Raises
    Django's database errors.
    """
    store_class = _store_class()
    if not issubclass(store_class, SessionStore):
        return [_each(key, lambda key: _signed_in(key, store_class(key).load(), None)) for key in keys]
    sessions = {
        session.session_key: session
        for session in store_class.get_model_class()
        .objects.select_related("user")
        .filter(session_key__in=set(keys), expire_date__gt=timezone.now())
    }

    def find(key: str) -> Identity | None:
        session = sessions.get(key)
        if session is None or session.user is None:
            return None
        return _signed_in(key, store_class(key).decode(session.session_data), session.user)

    return [_each(key, find) for key in keys]


def _each(key: str, find: Callable[[str], Identity | None]) -> Identity | Exception | None:
    try:
        return find(key)
    except DatabaseError:
        raise
    except Exception as error:
        return error


def backend_of(user: Any) -> str:
    """Dotted path of the first backend that finds the user by primary key, as a session needs it.

    Some backends do not: they only refuse logins. Raises LookupError if none does.
    """
    for path in settings.AUTHENTICATION_BACKENDS:
        find = getattr(auth.load_backend(path), "get_user", None)
        if find is not None and find(user.pk) == user:
            return str(path)
    raise LookupError(f"no backend of AUTHENTICATION_BACKENDS has a get_user() that finds {user}")


class Audited(NamedTuple):
    """What an audit found."""

    over: set[Person]  # their session has ended, for any reason
    users: dict[Any, Any]  # by id: those that were read
    versions: dict[Any, object]  # by id: of the user's row; empty where the database has none


def audit(people: Iterable[Person], verified: Mapping[Person, object], wanted: Iterable[Any]) -> Audited:
    """Find the people whose session has ended.

    `verified`: the version of a person's row with which an earlier audit found everything right. While the
    row has this version, it is not read again. `wanted`: ids of users to read in any case.
    """
    people = list(people)
    gone = _gone({person.session_key for person in people})
    over = {person for person in people if person.session_key in gone} if gone else set()
    versions = _versions(people, verified)
    by_row = {path: _decides_by_row(path) for path in {person.backend for person in people}}
    doubtful = [
        person
        for person in people
        if person.user_id not in versions
        or verified.get(person) != versions[person.user_id]
        or not by_row[person.backend]
    ]
    ids = {person.user_id for person in doubtful} | set(wanted)
    users = auth.get_user_model()._base_manager.in_bulk(ids) if ids else {}
    for person in doubtful:
        user = users.get(person.user_id)
        if user is None or not _is_good(person, user):
            over.add(person)
    return Audited(over, users, versions)


def _versions(people: Sequence[Person], verified: Mapping[Person, object]) -> dict[Any, object]:
    """By user id, the transaction that last wrote the user's row. Only PostgreSQL tells.

    The database gets the versions that are known, and returns only those that differ: with thousands of
    people, reading the same rows again every two seconds is most of the cost of an idle connection.
    """
    model = auth.get_user_model()
    connection = connections[router.db_for_read(model)]
    if connection.vendor != "postgresql" or not people or not _is_decided_by_its_row(model):
        return {}
    versions: dict[Any, object] = {}
    for person in people:
        known = verified.get(person)
        if versions.setdefault(person.user_id, known) != known:  # of another session: ask
            versions[person.user_id] = None
    key = model._meta.pk
    quote = connection.ops.quote_name
    table, column, kind = quote(model._meta.db_table), quote(key.column), key.rel_db_type(connection)
    keys = [key.get_db_prep_value(user_id, connection) for user_id in versions]
    with connection.cursor() as cursor:
        try:
            cursor.execute(
                "SELECT asked.key, found.xmin::text"
                f" FROM unnest(%s::{kind}[], %s::text[]) AS asked (key, version)"
                f" LEFT JOIN {table} AS found ON found.{column} = asked.key"
                " WHERE found.xmin::text IS DISTINCT FROM asked.version",
                [keys, list(versions.values())],
            )
        except ProgrammingError:  # a view, for example, has no xmin
            return {}
        versions.update((key.to_python(user_id), version) for user_id, version in cursor.fetchall())
    return {user_id: version for user_id, version in versions.items() if version is not None}


def _is_decided_by_its_row(model: Any) -> bool:
    """Whether nothing outside of a user's row decides if the user is active and the session valid."""
    columns = {field.name for field in model._meta.concrete_fields if field.model is model}
    return (
        not model._meta.parents
        and ("is_active" in columns or getattr(model, "is_active", None) is True)
        and getattr(model, "get_session_auth_hash", None) is AbstractBaseUser.get_session_auth_hash
    )


def _decides_by_row(path: str) -> bool:
    """Whether the backend decides by the user's row alone who may stay signed in."""
    backend = auth.load_backend(path)
    may = getattr(type(backend), "user_can_authenticate", None)
    return may is None or may is ModelBackend.user_can_authenticate


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


def _gone(keys: set[str]) -> set[str]:
    """The sessions that exist no longer."""
    store_class = _store_class()
    if not hasattr(store_class, "get_model_class"):
        return {key for key in keys if auth.SESSION_KEY not in store_class(key).load()}
    model = store_class.get_model_class()
    connection = connections[router.db_for_read(model)]
    if connection.vendor != "postgresql" or type(model.objects).get_queryset is not Manager.get_queryset:
        living = model.objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
        return keys - set(living.values_list("session_key", flat=True))
    quote = connection.ops.quote_name
    key, expiry = (quote(model._meta.get_field(name).column) for name in ("session_key", "expire_date"))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT asked.key FROM unnest(%s::text[]) AS asked (key) WHERE NOT EXISTS"
            f" (SELECT FROM {quote(model._meta.db_table)} WHERE {key} = asked.key AND {expiry} > %s)",
            [list(keys), timezone.now()],
        )
        return {found for (found,) in cursor.fetchall()}


def _store_class() -> Any:
    return import_module(settings.SESSION_ENGINE).SessionStore
