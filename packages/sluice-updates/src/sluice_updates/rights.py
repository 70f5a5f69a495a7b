"""Rights: one function decides who may read a stream. The setting SLUICE_UPDATES_MAY_READ names it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from django.utils.module_loading import import_string

from . import conf, streams
from .publishing import publish


class User(Protocol):
    """The attributes of a user that this package needs. Django's User and AnonymousUser have them."""

    pk: Any
    is_authenticated: Any
    is_active: Any


def may_read(user: User, stream: str) -> bool:
    """Whether the user may now read the stream, both its history and new updates.

    The function that SLUICE_UPDATES_MAY_READ names (a dotted path) gets the same two arguments, and decides.
    It is also called for streams that don't exist. It also runs in the hub's database thread, so it must be
    fast, and use the database through Django only. It is not called for anonymous and inactive users, who may
    read nothing.
    """
    if not (user.is_authenticated and user.is_active):
        return False
    return bool(_rule()(user, stream))


def allowed(user: User, wanted: Iterable[str]) -> set[str]:
    """Those of the streams that the user may read."""
    return {stream for stream in wanted if may_read(user, stream)}


def default_may_read(user: User, stream: str) -> bool:
    """The default rule: a user may read `user:<id>` with the own id, and `all`."""
    return stream in (streams.ALL, streams.user_stream(user.pk))


def rights_changed(*user_ids: object) -> None:
    """Make the pages of these users reconnect, after which the hub checks their rights again.

    Call it in the transaction that changes the rights. It publishes `streams-changed` to each user's stream.
    """
    for user_id in user_ids:
        publish(streams.user_stream(user_id), "streams-changed", {})


def _rule() -> Callable[[User, str], object]:
    rule: Callable[[User, str], object] = import_string(conf.may_read())
    return rule
