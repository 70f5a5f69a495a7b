"""Collects the handshakes that arrive while the database answers earlier ones, and asks for all at once."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Final

from .. import limits
from ..handshake import Admission, Answers, Handshake, Heads, answer
from ..history import Reading
from ..positions import Position
from .database_thread import DatabaseThread, DatabaseUnavailable

LARGEST_BATCH: Final = 64
OF_ONE_SESSION: Final = 4  # in one batch; further ones wait behind those of other people
OF_ONE_ADDRESS: Final = 16  # the same, without a session: many people may share an address
# After a batch that takes longer than SLOW, batches are smaller: a project's own rule of rights may be slow.
QUICK_SECONDS: Final = 0.1
SLOW_SECONDS: Final = 0.25


class Authenticator:
    """Answers handshakes by the database, in a thread, many at a time.

    `head` and `knows` tell what the hub has (see `handshake.answer`). `learn` takes what was read.
    """

    def __init__(
        self,
        thread: DatabaseThread,
        *,
        head: Callable[[str], Position | None],
        knows: Callable[[str, Position | None], bool],
        learn: Callable[[Reading, Heads], None],
    ) -> None:
        self._thread = thread
        self._answer = partial(answer, head=head, knows=knows, limit=limits.REPLAY_UPDATES)
        self._learn = learn
        self._waiting: deque[tuple[Handshake, asyncio.Future[Admission]]] = deque()
        self._size = LARGEST_BATCH // 4
        self._work: asyncio.Task[None] | None = None

    async def authenticate(self, handshake: Handshake) -> Admission:
        """Raises DatabaseUnavailable, or what the project's own rule of rights raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Admission] = loop.create_future()
        self._waiting.append((handshake, future))
        if self._work is None:
            self._work = loop.create_task(self._work_off())
        return await future

    def stop(self) -> None:
        """End the task. Handshakes that wait are not answered."""
        if self._work is not None:
            self._work.cancel()

    async def _work_off(self) -> None:
        try:
            while batch := self._next():
                await self._ask(batch)
        finally:
            self._work = None

    def _next(self) -> list[tuple[Handshake, asyncio.Future[Admission]]]:
        batch: list[tuple[Handshake, asyncio.Future[Admission]]] = []
        postponed = []
        clients: Counter[tuple[str | None, str]] = Counter()
        while self._waiting and len(batch) < self._size:
            handshake, future = self._waiting.popleft()
            if future.done():  # the client is gone, or was told to come back later
                continue
            key = handshake.session_key
            client = (key, handshake.address if key is None else "")
            clients[client] += 1
            if clients[client] > (OF_ONE_ADDRESS if key is None else OF_ONE_SESSION):
                postponed.append((handshake, future))
            else:
                batch.append((handshake, future))
        if batch:
            self._waiting.extend(postponed)
        return batch

    async def _ask(self, batch: list[tuple[Handshake, asyncio.Future[Admission]]]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answers: Answers | None = None
        failure: Exception | None = None
        try:
            answers = await self._thread.run(
                self._answer, [handshake for handshake, _ in batch], within=limits.HELLO_SECONDS
            )
        except Exception as error:
            failure = error
        self._adapt(loop.time() - began)
        if answers is not None:
            for reading, heads in answers.readings:
                self._learn(reading, heads)
            later = []
            for (handshake, future), admission in zip(batch, answers.admissions, strict=True):
                if admission is None:
                    later.append((handshake, future))
                else:
                    _settle(future, admission)
            self._waiting.extendleft(reversed(later))
        elif len(batch) == 1 or isinstance(failure, DatabaseUnavailable):
            for _, future in batch:
                _settle(future, failure)
        else:  # one of them is the cause: it must not affect the others
            for one in batch:
                await self._ask([one])

    def _adapt(self, seconds: float) -> None:
        if seconds > SLOW_SECONDS:
            self._size = max(1, self._size // 2)
        elif seconds < QUICK_SECONDS:
            self._size = min(LARGEST_BATCH, self._size * 2)


def _settle(future: asyncio.Future[Admission], outcome: Admission | Exception | None) -> None:
    if future.done():
        return
    if isinstance(outcome, Admission):
        future.set_result(outcome)
    else:
        future.set_exception(outcome or DatabaseUnavailable("no answer"))
