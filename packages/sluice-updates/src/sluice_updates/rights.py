"""Rights: one function decides who may read a stream. SLUICE_UPDATES_MAY_READ sets a project's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from django.utils.module_loading import import_string

from . import conf, streams
from .publishing import publish


class User(Protocol):
    """The attributes of a user that are used: of Django's User or AnonymousUser, or the project's own."""

    pk: Any
    is_authenticated: Any
    is_active: Any


def may_read(user: User, stream: str) -> bool:
    """Whether the user may now read the stream, its past and its future.

    The function in SLUICE_UPDATES_MAY_READ (dotted path) gets the same two arguments, also for streams that
    do not exist. It runs in the hub's thread too, so it must be fast and use the database through Django
    only. A user who is signed out or deactivated reads nothing, whatever it returns.
    """
    if not (user.is_authenticated and user.is_active):
        return False
    return bool(_rule()(user, stream))


def allowed(user: User, wanted: Iterable[str]) -> set[str]:
    """The wanted streams that the user may read."""
    return {stream for stream in wanted if may_read(user, stream)}


def default_may_read(user: User, stream: str) -> bool:
    """Allow the user's own `user:<id>`, and `all`. A project defines who may read `project:<id>`."""
    return stream in (streams.ALL, streams.user_stream(user.pk))


def rights_changed(*user_ids: object) -> None:
    """Tell these users' pages that the streams which they may read have changed.

    Call it in the transaction that changes the rights: pages reconnect, and the hub checks the rights again.
    """
    for user_id in user_ids:
        publish(streams.user_stream(user_id), "streams-changed", {})


def _rule() -> Callable[[User, str], object]:
    rule: Callable[[User, str], object] = import_string(conf.may_read())
    return rule
