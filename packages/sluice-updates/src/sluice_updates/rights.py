"""Rights: one function decides who may read a stream. The setting SLUICE_UPDATES_MAY_READ names it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from django.contrib.auth.models import AnonymousUser
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
    fast, and use the database through Django only. It is not called for inactive users, who may read nothing.
    For AnonymousUser it is called with SLUICE_UPDATES_ANONYMOUS only, and never for a person's own stream.
    """
    if user.is_authenticated:
        may_ask = user.is_active
    else:
        may_ask = conf.anonymous() and not streams.is_personal(stream)
    return bool(may_ask and _rule()(user, stream))


def allowed(user: User, wanted: Iterable[str]) -> set[str]:
    """Those of the streams that the user may read."""
    return {stream for stream in wanted if may_read(user, stream)}


def allowed_anonymously(wanted: Iterable[str], decided: dict[str, bool]) -> set[str]:
    """Those of the streams that a reader who is not signed in may read.

    None at all if one of them is a person's: then it is the page of a user whose session has ended, which
    must learn that. `decided` keeps the rule's decisions: they are the same for all these readers.
    """
    names = set(wanted)
    if not conf.anonymous() or any(map(streams.is_personal, names)):
        return set()
    for name in names - decided.keys():
        decided[name] = may_read(AnonymousUser(), name)
    return {name for name in names if decided[name]}


def default_may_read(user: User, stream: str) -> bool:
    """The default rule: a user may read `user:<id>` with the own id, and `all`. Others may read nothing."""
    return bool(user.is_authenticated) and stream in (streams.ALL, streams.user_stream(user.pk))


def rights_changed(*user_ids: object) -> None:
    """Make the pages of these users reconnect, after which the hub checks their rights again.

    Call it in the transaction that changes the rights. It publishes `streams-changed` to each user's stream.
    """
    for user_id in user_ids:
        publish(streams.user_stream(user_id), "streams-changed", {})


def anonymous_rights_changed() -> None:
    """Make the hub check again what anonymous readers may read. Call it in the transaction of the change."""
    publish(streams.ANONYMOUS, "streams-changed", {})


def _rule() -> Callable[[User, str], object]:
    rule: Callable[[User, str], object] = import_string(conf.may_read())
    return rule
