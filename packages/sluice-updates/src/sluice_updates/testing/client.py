"""A page's client without a socket: what the page would be sent, read from the database."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.db import ProgrammingError
from django.db.backends.base.base import BaseDatabaseWrapper

from .. import close_codes, history, rights
from ..history import Reading
from ..positions import Position
from ..streams import ALL, default_streams, is_personal


class FakeClient:
    """Receives what an open page of this user would receive.

    It follows `streams`; by default those of `since`, else the user's own and `all`. For a visitor who is not
    signed in, the user is an AnonymousUser. `since` has the positions in the page, by stream, such as
    `{"user:7": "14-9f3ac1d20b7e4455"}`. Of a stream without a position, it receives what is published from
    now on.

    It starts at once: `hello` has what the protocol's hello has for each stream. `close_code` is the code
    with which the server would have closed the connection, or None.
    """

    def __init__(
        self,
        user: Any,
        streams: Iterable[str] | None = None,
        since: Mapping[str, Position | str] | None = None,
    ) -> None:
        given = {
            stream: position if isinstance(position, Position) else Position.parse(position)
            for stream, position in (since or {}).items()
        }
        usual = default_streams(user.pk) if user.is_authenticated else [ALL]
        names = list(given or usual) if streams is None else list(streams)
        self.hello: dict[str, dict[str, Any]] = {}
        self.close_code: int | None = None
        self._user = user
        self._positions: dict[str, Position] = {}
        if user.is_authenticated:
            allowed = rights.allowed(user, names)
        else:
            allowed = rights.allowed_anonymously([*names, *filter(is_personal, given)], {})
        if not allowed:
            is_known = user.is_authenticated and user.is_active
            self.close_code = close_codes.NOTHING_ALLOWED if is_known else close_codes.NOT_SIGNED_IN
            return
        reading = _read({stream: given.get(stream) for stream in names if stream in allowed})
        for stream in names:
            if stream not in allowed:
                self.hello[stream] = {"denied": True}
                continue
            head = reading.states[stream].head
            self.hello[stream] = {"head": str(head)}
            if stream in reading.recovered:
                self.hello[stream]["recovered"] = reading.recovered[stream]
            self._positions[stream] = given[stream] if reading.recovered.get(stream) else head

    @property
    def positions(self) -> dict[str, str]:
        """The positions after what was received so far, for the `since` of another client."""
        return {stream: str(position) for stream, position in self._positions.items()}

    def receive(self) -> list[dict[str, Any]]:
        """The updates since the last call, each as its frame: `event`, `payload`, `stream`, `position`.

        Before the commit of an atomic block there is nothing to receive, so call it outside. (The block in
        which a TestCase runs each test does not count.)
        """
        frames: list[dict[str, Any]] = []
        self._check_rights()
        while self.close_code is None:
            reading = _read(self._positions)
            if not all(reading.recovered.values()):
                self.close_code = close_codes.HISTORY_REWRITTEN
                break
            for update in reading.updates:
                frames.append(json.loads(update.frame))
                self._positions[update.stream] = update.position
            if not reading.more:
                break
        return frames

    def _check_rights(self) -> None:
        """As the server does: with the user as the database has it now."""
        if self.close_code is not None:
            return
        if self._user.pk is not None:
            user = get_user_model()._default_manager.filter(pk=self._user.pk).first()
            if user is None or not user.is_active:
                self.close_code = close_codes.SESSION_ENDED
                return
            self._user = user
        allowed = rights.allowed(self._user, self._positions)
        self._positions = {name: place for name, place in self._positions.items() if name in allowed}
        if not allowed:
            self.close_code = close_codes.NOTHING_ALLOWED


def _read(wanted: Mapping[str, Position | None]) -> Reading:
    connection = history.database()
    if not connection.in_atomic_block:
        return history.read(wanted)
    if not all(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks):
        raise RuntimeError(
            "FakeClient was used in an atomic block: a page is sent nothing before the block commits; use the"
            " client after its end"
        )
    _allot(connection)
    return history.read_inside(connection, wanted)


def _allot(connection: BaseDatabaseWrapper) -> None:
    """On PostgreSQL, allot the offsets that COMMIT would allot. A TestCase never commits."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        try:
            cursor.execute("SET CONSTRAINTS sluice_updates_allot IMMEDIATE")
        except ProgrammingError as error:
            raise RuntimeError(
                "the test database has no trigger that allots offsets: a migration creates it, so run the"
                " tests with migrations (pytest-django: without --nomigrations)"
            ) from error
        cursor.execute("SET CONSTRAINTS sluice_updates_allot DEFERRED")
