"""A way of waking the hub: how it learns of a commit before its next poll.

Nothing waits for a way. What it loses, the poll finds within a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import ClassVar

from .. import limits
from ..metrics import count

logger = logging.getLogger(__name__)


class Way(ABC):
    """What the hub and its health need to know of each way."""

    name: ClassVar[str]  # in /channels/healthz

    def __init__(self) -> None:
        self.configured = True
        # Whether it carries other processes' wake-ups. A layer in memory works, but carries none.
        self.carries = True
        self.returned_at = 0.0  # loop time of the last proof that it works; 0: none yet
        self.latency = 0.0  # of that proof, in seconds
        self.failures = 0  # of proofs, in a row
        self.trouble: str | None = None  # why the last one failed, in words; None: it did not

    @abstractmethod
    def tasks(self) -> list[Callable[[], Awaitable[None]]]:
        """What the hub runs for the life of the process."""

    def stop(self) -> None:  # noqa: B027  (most need nothing)
        """Release threads and connections. The hub has ended the tasks."""


class LoopBackWay(Way):
    """A way with a subscription. The loop-back, a message to itself, proves that it works."""

    source: ClassVar[str]  # what it subscribes to, for the log

    def __init__(self, hub_id: str) -> None:
        super().__init__()
        self.hub_id = hub_id
        self.subscribed = asyncio.Event()
        self.anew = asyncio.Event()  # set: subscribe again
        self._complained = False
        self._returns: dict[str, asyncio.Future[None]] = {}

    def tasks(self) -> list[Callable[[], Awaitable[None]]]:
        return [self.listen, self.loop_back_forever] if self.configured else []

    @abstractmethod
    async def subscribe(self) -> None:
        """Stay subscribed until `anew` is set: call established(), then returned() for each loop-back.

        Raises whatever ends the subscription.
        """

    @abstractmethod
    async def send(self, nonce: str) -> None:
        """Send a loop-back."""

    async def suspect(self) -> None:
        """Called after each loop-back that did not arrive."""

    def worked(self) -> None:
        """Called after each loop-back that arrived."""

    async def listen(self) -> None:
        """Stay subscribed: subscribe again whenever it ends."""
        while True:
            self.anew.clear()
            try:
                await self.subscribe()
            except Exception as error:
                self._unsubscribed(error)
            finally:
                self.subscribed.clear()
            await asyncio.sleep(self.pause())

    def pause(self) -> float:
        """Seconds until it subscribes again."""
        return limits.LOOPBACK_SECONDS * random.uniform(0.04, 0.4)

    def established(self) -> None:
        """The subscription is there."""
        self.subscribed.set()
        if self._complained:
            self._complained = False
            logger.info("subscribed to %s again", self.source)

    def returned(self, nonce: str) -> None:
        """A loop-back arrived."""
        waiting = self._returns.get(nonce)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _unsubscribed(self, error: Exception) -> None:
        """Log one line for each outage; any other error every time, with its traceback."""
        self.trouble = in_words(error)
        if not self.is_outage(error):
            logger.exception("the subscription to %s failed; subscribing again", self.source)
        elif not self._complained:
            logger.warning("not subscribed to %s: %s; retrying", self.source, str(error) or repr(error))
            self._complained = True

    def is_outage(self, error: Exception) -> bool:
        """Whether this error only means that the other side is down."""
        return isinstance(error, (OSError, TimeoutError))

    async def loop_back_forever(self) -> None:
        """Send a loop-back every few seconds; if none arrives, find out whether this process is the cause."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.subscribed.wait(), limits.LOOPBACK_TIMEOUT_SECONDS)
            await self._try()
            await asyncio.sleep(limits.LOOPBACK_SECONDS * random.uniform(0.8, 1.0))

    async def _try(self) -> None:
        began = asyncio.get_running_loop().time()
        try:
            await self._loop_back()
        except Exception as error:
            self.failures += 1
            count("loop_backs_failed")
            if self.subscribed.is_set() or self.trouble is None:  # else the reason is known
                self.trouble = self.explain(error)
            if self.failures == 1:
                logger.warning(
                    "no loop-back arrives through %s (%r); the database is polled", self.source, error
                )
            if self.failures % 2 == 0:
                self.anew.set()
            await self.suspect()
        else:
            if self.failures:
                logger.info("loop-backs arrive through %s again", self.source)
            self.failures = 0
            self.trouble = None
            self.worked()
            self.returned_at = asyncio.get_running_loop().time()
            self.latency = self.returned_at - began

    async def _loop_back(self) -> None:
        """Raises TimeoutError if the message does not come back in time."""
        nonce = secrets.token_hex(8)
        returned = self._returns[nonce] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(limits.LOOPBACK_TIMEOUT_SECONDS):
                await self.subscribed.wait()
                await self.send(nonce)
                await returned
        finally:
            self._returns.pop(nonce, None)

    def explain(self, error: Exception) -> str:
        """Why no loop-back arrived, in words."""
        return in_words(error)


def in_words(error: Exception) -> str:
    """The error's message, or what it means that there is none."""
    if isinstance(error, TimeoutError) and not str(error):
        return f"no loop-back arrived within {limits.LOOPBACK_TIMEOUT_SECONDS:g} s"
    return str(error) or repr(error)
