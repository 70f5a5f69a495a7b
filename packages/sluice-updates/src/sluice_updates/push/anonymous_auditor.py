"""Ends subscriptions of anonymous readers after a change of rights.

They have no session that could end, and one rule decides for all of them. So each stream is asked about once,
however many of them follow it. It has a task and a thread of its own: many public streams must not delay the
audit of sessions.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Final

from django.db import Error as DatabaseError

from .. import limits, rights
from .database_thread import DatabaseThread, DatabaseUnavailable
from .people import People

logger = logging.getLogger(__name__)

BUDGET_SECONDS: Final = 0.25  # for the rule, in one call


class AnonymousAuditor:
    """Asks again about each stream that anonymous readers follow: from time to time, and after a hint."""

    def __init__(self, loop: asyncio.AbstractEventLoop, people: People) -> None:
        self._loop = loop
        self._people = people
        self._judged: dict[str, float] = {}  # by stream: loop time of the last decision
        # Until when each audit asks about all streams: a handshake that read the old rights may subscribe
        # just after the change.
        self._hinted: float | None = None
        self._hint = asyncio.Event()
        self._thread = DatabaseThread("sluice-anonymous-audit")  # it starts at the first call

    def suspect(self) -> None:
        """The rights of anonymous readers may have changed."""
        self._hinted = self._loop.time() + limits.HELLO_SECONDS + limits.AUDIT_SECONDS
        self._hint.set()

    async def audit_anonymous_forever(self) -> None:
        """Audit every two seconds, and at once after a hint."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.AUDIT_SECONDS):
                    await self._hint.wait()
            self._hint.clear()
            with contextlib.suppress(DatabaseUnavailable):  # with the database down, connections stay
                await self._audit()

    def stop(self) -> None:
        """End the thread."""
        self._thread.stop()

    async def _audit(self) -> None:
        began, hinted = self._loop.time(), self._hinted
        followed = {name for connection in self._people.anonymous for name in connection.subscriptions}
        # The handshakes have decided about new ones.
        self._judged = {name: self._judged.get(name, began) for name in followed}
        due = [
            name
            for name, judged in self._judged.items()
            if hinted is not None or began - judged > limits.JUDGE_SECONDS
        ]
        while due:
            answered, allowed = await self._thread.run(_judge, due, within=5 * limits.STALL_SECONDS)
            self._judged.update(dict.fromkeys(due[:answered], began))
            self._deny(set(due[:answered]) - allowed)
            due = due[answered:]
        if hinted is not None and hinted < began and hinted == self._hinted:
            self._hinted = None

    def _deny(self, lost: Iterable[str]) -> None:
        lost = frozenset(lost)
        if not lost:
            return
        for connection in list(self._people.anonymous):
            here = lost & connection.subscriptions.keys()
            if here:  # one without subscriptions is still in its handshake
                connection.deny(here)


def _judge(names: Sequence[str]) -> tuple[int, set[str]]:
    """In the thread: for how many of the streams there was time, at least one, and which may be read."""
    began = time.monotonic()
    decided: dict[str, bool] = {}
    for name in names:
        try:
            rights.allowed_anonymously([name], decided)
        except DatabaseError:
            raise
        except Exception:  # of the project's own rule
            logger.exception("the rule of rights failed for an anonymous reader of %s, who loses it", name)
            decided[name] = False
        if time.monotonic() - began > BUDGET_SECONDS:
            break
    return len(decided), {name for name, allowed in decided.items() if allowed}
