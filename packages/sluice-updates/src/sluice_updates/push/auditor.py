"""Ends connections after a sign-out or a loss of rights. It checks all sessions every two seconds."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from .. import authentication, close_codes, limits, rights, streams
from ..authentication import Person
from ..metrics import count
from .database_thread import DatabaseThread, DatabaseUnavailable
from .frames import UpdateFrame
from .people import People

CHUNK = 500  # people in one query
EVERYBODY = ""  # in place of a user's stream


class Auditor:
    """Closes connections whose session ended, and ends subscriptions that are no longer allowed."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, people: People, anonymous_rights_changed: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._people = people
        self._anonymous_rights_changed = anonymous_rights_changed
        self._judged: dict[Any, float] = {}  # by user id: loop time of the last check of their rights
        self._verified: dict[Person, object] = {}  # the version of the user's row in the last audit
        # Streams of users whose rights may have changed, and until when (loop time) each audit checks them: a
        # handshake that read the old rights may subscribe just after the change.
        self._hinted: dict[str, float] = {}
        self._hint = asyncio.Event()
        # Not the thread of the handshakes: many new connections must not delay the closing of old ones.
        self._thread = DatabaseThread("sluice-audit")

    def notice(self, frame: UpdateFrame) -> None:
        """Look for `streams-changed`, the update that announces changed rights."""
        if (
            (streams.is_personal(frame.stream) or frame.stream == streams.ANONYMOUS)
            and '"streams-changed"' in frame.text
            and json.loads(frame.text)["event"] == "streams-changed"
        ):
            self._suspect(frame.stream)

    def doubt_all(self) -> None:
        """Check the rights of all users at once."""
        self._suspect(EVERYBODY)

    def _suspect(self, name: str) -> None:
        if name in (EVERYBODY, streams.ANONYMOUS):
            self._anonymous_rights_changed()
        if name == streams.ANONYMOUS:
            return
        self._hinted[name] = self._loop.time() + limits.HELLO_SECONDS + limits.AUDIT_SECONDS
        self._hint.set()

    async def audit_forever(self) -> None:
        """Check every connection every two seconds, and at once after a hint."""
        while True:
            try:
                async with asyncio.timeout(limits.AUDIT_SECONDS):
                    await self._hint.wait()
            except TimeoutError:
                pass
            self._hint.clear()
            began, hinted = self._loop.time(), frozenset(self._hinted)
            with contextlib.suppress(DatabaseUnavailable):  # with the database down, sockets stay
                await self._audit(hinted)
                for name in hinted:
                    if self._hinted[name] < began:
                        del self._hinted[name]

    def stop(self) -> None:
        """End the thread."""
        self._thread.stop()

    async def _audit(self, hinted: frozenset[str]) -> None:
        people = list(
            {
                connection.reader
                for connection in self._people.connections
                if isinstance(connection.reader, Person)
            }
        )
        now = self._loop.time()
        self._judged = {
            person.user_id: self._judged.get(person.user_id, now) for person in people
        }  # new connections were checked in their handshake
        verified, self._verified = self._verified, {}
        for start in range(0, len(people), CHUNK):
            chunk = people[start : start + CHUNK]
            questions: dict[Any, set[str]] = {}
            for person in chunk:
                is_due = now - self._judged[person.user_id] > limits.JUDGE_SECONDS
                if is_due:
                    verified.pop(person, None)
                if is_due or (hinted and hinted & {EVERYBODY, streams.user_stream(person.user_id)}):
                    questions[person.user_id] = self._followed_by(person.user_id)
            over, denied, versions = await self._thread.run(
                _judge, chunk, verified, questions, within=5 * limits.STALL_SECONDS
            )
            self._judged.update(dict.fromkeys(questions, now))
            for person in chunk:
                if person not in over and person.user_id in versions:
                    self._verified[person] = versions[person.user_id]
            if over or denied:
                self._act(over, denied)

    def _followed_by(self, user_id: Any) -> set[str]:
        return {name for connection in self._people.of(user_id) for name in connection.subscriptions}

    def _act(self, over: set[Person], denied: Mapping[Any, set[str]]) -> None:
        for connection in list(self._people.connections):
            person = connection.reader
            if not isinstance(person, Person):
                continue
            if person in over:
                count("sessions_ended")
                connection.close(close_codes.SESSION_ENDED)
            elif person.user_id in denied:
                connection.deny(denied[person.user_id])


def _judge(
    people: list[Person], verified: Mapping[Person, object], questions: dict[Any, set[str]]
) -> tuple[set[Person], dict[Any, set[str]], dict[Any, object]]:
    """In the thread: the people whose session ended, and the streams that others may no longer read."""
    over, users, versions = authentication.audit(people, verified, questions)
    denied = {}
    for user_id, names in questions.items():
        user = users.get(user_id)
        if user is not None and (lost := names - rights.allowed(user, names)):
            denied[user_id] = lost
    return over, denied, versions
