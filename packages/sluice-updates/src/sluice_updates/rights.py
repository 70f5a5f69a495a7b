"""Who may read a stream. One function decides: SLUICE_UPDATES_MAY_READ names a project's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from django.utils.module_loading import import_string

from . import conf, streams
from .publishing import publish


class User(Protocol):
    """What is asked of a user: Django's own, an AnonymousUser, or the hub's."""

    pk: Any
    is_authenticated: Any
    is_active: Any


def may_read(user: User, stream: str) -> bool:
    """Whether the user may read the stream, past and future, judged now.

    SLUICE_UPDATES_MAY_READ names the function (dotted path). It gets the same two arguments, also for streams
    that do not exist, and runs in the hub's thread too: it must be quick and query the database through
    Django only. A user who is signed out or deactivated reads nothing, whatever it returns.
    """
    if not (user.is_authenticated and user.is_active):
        return False
    return bool(_rule()(user, stream))


def allowed(user: User, wanted: Iterable[str]) -> set[str]:
    """Those of the wanted streams that the user may read."""
    return {stream for stream in wanted if may_read(user, stream)}


def default_may_read(user: User, stream: str) -> bool:
    """One's own `user:<id>`, and `all`. Groups (`project:<id>`) are the project's to define."""
    return stream in (streams.ALL, streams.user_stream(user.pk))


def rights_changed(*user_ids: object) -> None:
    """Tell these users' pages that the set of streams they may read has changed.

    Call it in the transaction that changes the rights: their pages reconnect, and the hub checks again.
    """
    for user_id in user_ids:
        publish(streams.user_stream(user_id), "streams-changed", {})


def _rule() -> Callable[[User, str], object]:
    rule: Callable[[User, str], object] = import_string(conf.may_read())
    return rule
