"""The hub's subscription to PostgreSQL's notifications, on a connection of its own: push without a broker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from django.db import Error

from .. import history, limits
from ..metrics import count
from ..wakeup import notifications
from .database_thread import DatabaseThread, DatabaseUnavailable
from .way import LoopBackWay

logger = logging.getLogger(__name__)

_POOLER: Final = (
    "LISTEN succeeds and no notification arrives: a connection pooler in transaction mode is between this"
    " process and PostgreSQL. Connect this process directly, or through a pool in session mode"
)


class Notifications(LoopBackWay):
    """Has the database polled at each notification. It takes nothing else from one: any role can send it.

    `poll_soon` has the database polled at once. `send` sends a loop-back, on another connection: a pooler in
    transaction mode may deliver to the connection that sent it, and to no other.
    """

    name = "notify"
    source = "PostgreSQL's notifications"

    def __init__(
        self,
        hub_id: str,
        *,
        poll_soon: Callable[[], None],
        send: Callable[..., Awaitable[None]],
    ) -> None:
        super().__init__(hub_id)
        self.configured = notifications.is_wanted()
        self._poll_soon = poll_soon
        self._send = send
        self._thread = DatabaseThread("sluice-listen")  # connects, and has nothing else to do
        self._pooled = False

    def stop(self) -> None:
        self._thread.stop()

    async def subscribe(self) -> None:
        raw, self._pooled = await self._thread.run(_listen, within=2 * limits.STALL_SECONDS)
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[Any] = loop.create_future()
        anew: asyncio.Future[Any] = asyncio.ensure_future(self.anew.wait())
        descriptor = raw.fileno()
        loop.add_reader(descriptor, self._read, raw, descriptor, lost)
        try:
            self.established()
            self._poll_soon()  # what committed meanwhile was not heard
            await asyncio.wait({anew, lost}, return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                lost.result()
        finally:
            anew.cancel()
            if not lost.done():  # else the number may be a client's already
                loop.remove_reader(descriptor)
            raw.close()

    async def send(self, nonce: str) -> None:
        await self._send(notifications.LOOP_BACK, self.hub_id, nonce)

    def pause(self) -> float:
        """Behind a pooler, each LISTEN stays behind on a connection that others use: try it rarely."""
        return limits.POOLER_SECONDS if self._pooled and self.failures else super().pause()

    def is_outage(self, error: Exception) -> bool:
        return isinstance(error, (DatabaseUnavailable, Error))

    def explain(self, error: Exception) -> str:
        if not (self._pooled and isinstance(error, TimeoutError)):
            return super().explain(error)
        if self.trouble != _POOLER:
            logger.warning("%s; until then, updates take up to a second", _POOLER)
        return _POOLER

    def _read(self, raw: Any, descriptor: int, lost: asyncio.Future[Any]) -> None:
        """The socket is readable."""
        try:
            arrived = notifications.received(raw)
        except Exception as error:  # the driver's own, of whichever driver
            asyncio.get_running_loop().remove_reader(descriptor)
            if not lost.done():
                lost.set_exception(DatabaseUnavailable(" ".join(str(error).split())))
            return
        for words in arrived:
            if words[:2] == [notifications.LOOP_BACK, self.hub_id]:
                self.returned(words[-1])
            elif words[:1] == [notifications.COMMITTED]:
                count("hints")
                self._poll_soon()


def _listen() -> tuple[Any, bool]:
    """In the thread: the driver's connection that listens, and whether a pooler is in between."""
    connection = history.database()
    raw = notifications.listen(connection)
    return raw, notifications.is_pooled(connection)
