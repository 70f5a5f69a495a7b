"""The hub's subscription to the channel layer, and the loop-back: a message to itself that proves it works.

Any channel layer works. Without one, updates arrive by the poll. Nothing waits for this module.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .. import limits
from ..metrics import count
from ..wakeup.message import (
    COMMITTED,
    GROUP,
    LOOP_BACK,
    Malformed,
    WokenUpdate,
    database_of,
    trace_of,
    unpack,
)

logger = logging.getLogger(__name__)


class LayerLink:
    """Receives the group's wake-ups, and measures the loop-back.

    `is_own` is asked with the identity of the database that a wake-up names. If it returns False, the wake-up
    is dropped. A loop-back needs none: it contains a random number that only this hub knows.
    """

    def __init__(
        self,
        hub_id: str,
        wake_up: Callable[[Iterable[WokenUpdate], Mapping[str, Any] | None], None],
        is_own: Callable[[str | None], bool],
    ) -> None:
        self.configured = True
        self.returned_at = 0.0  # loop time of the last loop-back that arrived; 0: none yet
        self.latency = 0.0  # of that loop-back, in seconds
        self.failures = 0  # of loop-backs, in a row
        self.trouble: str | None = None  # why the last one failed, in words; None: it arrived
        self.proofs = 0  # failures in a row while a new connection to the broker worked
        self.on_broken: Callable[[], None] | None = None  # see _look_closer()
        self._hub_id = hub_id
        self._wake_up = wake_up
        self._is_own = is_own
        self._subscribed = asyncio.Event()
        self._anew = asyncio.Event()
        self._complained = False
        self._returns: dict[str, asyncio.Future[None]] = {}

    async def listen(self) -> None:
        """Stay subscribed to the group: subscribe again whenever it ends."""
        layer = _default_layer()
        if layer is None:
            self.configured = False
            await asyncio.Event().wait()
        while True:
            try:
                await self._listen(layer)
            except Exception as error:
                self._unsubscribed(error)
            await asyncio.sleep(limits.LOOPBACK_SECONDS * random.uniform(0.04, 0.4))

    async def _listen(self, layer: Any) -> None:
        """Stay subscribed until a new subscription is requested. Raises what the layer raises."""
        self._anew.clear()
        channel = await _bounded(layer.new_channel())
        try:
            await _bounded(layer.group_add(GROUP, channel))
            self._subscribed.set()
            if self._complained:
                self._complained = False
                logger.info("subscribed to the channel layer again")
            await self._receive(layer, channel)
        finally:
            self._subscribed.clear()
            with contextlib.suppress(Exception):
                await _bounded(layer.group_discard(GROUP, channel))

    def _unsubscribed(self, error: Exception) -> None:
        """Log one line for each outage; any other error every time, with its traceback."""
        self.trouble = _in_words(error)
        if not isinstance(error, (OSError, TimeoutError)):
            logger.exception("the subscription to the channel layer failed; subscribing again")
        elif not self._complained:
            logger.warning("not subscribed to the channel layer: %s; retrying", error or repr(error))
            self._complained = True

    async def loop_back_forever(self) -> None:
        """Send a loop-back every few seconds; if none arrives, find out whether this process is the cause."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._subscribed.wait(), limits.LOOPBACK_TIMEOUT_SECONDS)
            if self.configured:
                await self._try()
            await asyncio.sleep(limits.LOOPBACK_SECONDS * random.uniform(0.8, 1.0))

    async def _try(self) -> None:
        began = asyncio.get_running_loop().time()
        try:
            await self._loop_back()
        except Exception as error:
            self.failures += 1
            count("loop_backs_failed")
            if self._subscribed.is_set() or self.trouble is None:  # else the reason is known
                self.trouble = _in_words(error)
            if self.failures == 1:
                logger.warning(
                    "no loop-back arrives through the channel layer (%r); the database is polled", error
                )
            if self.failures % 2 == 0:
                self._anew.set()
            await self._look_closer()
        else:
            if self.failures:
                logger.info("loop-backs arrive through the channel layer again")
            self.failures = self.proofs = 0
            self.trouble = None
            self.returned_at = asyncio.get_running_loop().time()
            self.latency = self.returned_at - began

    async def _loop_back(self) -> None:
        """Raises TimeoutError if the message does not come back in time."""
        nonce = secrets.token_hex(8)
        returned = self._returns[nonce] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(limits.LOOPBACK_TIMEOUT_SECONDS):
                await self._subscribed.wait()
                await _default_layer().group_send(
                    GROUP, {"type": LOOP_BACK, "hub": self._hub_id, "nonce": nonce}
                )
                await returned
        finally:
            self._returns.pop(nonce, None)

    async def _look_closer(self) -> None:
        """Find out by a new connection whether only this process's layer is dead, or the broker is down.

        After PROOFS such failures in a row, some 20 s, the layer counts as dead. In that time a working layer
        reconnects to a broker that has just come back.
        """
        if self.on_broken is None:
            return
        self.proofs = self.proofs + 1 if await _fresh_layer_works() else 0
        if self.proofs < limits.PROOFS:
            return
        logger.critical(
            "the channel layer of this process is dead, while a new connection to the broker works"
        )
        count("layer_found_dead")
        self.on_broken()

    async def _receive(self, layer: Any, channel: str) -> None:
        anew = asyncio.ensure_future(self._anew.wait())
        try:
            while not self._anew.is_set():
                message = asyncio.ensure_future(layer.receive(channel))
                try:
                    await asyncio.wait({message, anew}, return_when=asyncio.FIRST_COMPLETED)
                    if message.done():
                        self._handle(message.result())
                finally:
                    message.cancel()
        finally:
            anew.cancel()

    def _handle(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == COMMITTED:
            if not self._is_own(database_of(message)):
                return
            count("wake_ups")
            try:
                updates = unpack(message)
            except Malformed:
                count("wake_ups_malformed")
                logger.warning(
                    "a malformed wake-up arrived through the channel layer; the poll delivers its updates"
                )
                return
            self._wake_up(updates, trace_of(message))
        elif kind == LOOP_BACK and message.get("hub") == self._hub_id:
            returned = self._returns.get(str(message.get("nonce")))
            if returned is not None and not returned.done():
                returned.set_result(None)


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError) and not str(error):
        return f"no loop-back arrived within {limits.LOOPBACK_TIMEOUT_SECONDS:g} s"
    return str(error) or repr(error)


def _default_layer() -> Any:
    """The layer of the setting CHANNEL_LAYERS, or None."""
    try:
        from channels.layers import get_channel_layer
    except ImportError:
        return None
    return get_channel_layer()


async def _fresh_layer_works() -> bool:
    """Whether a loop-back arrives through a new layer of the same configuration."""
    from channels.layers import channel_layers

    group = f"sluice-probe-{secrets.token_hex(8)}"
    layer = channel_layers.make_backend("default")
    try:
        async with asyncio.timeout(limits.LAYER_SECONDS):
            channel = await layer.new_channel()
            await layer.group_add(group, channel)
            await layer.group_send(group, {"type": LOOP_BACK})
            await layer.receive(channel)
            return True
    except Exception:
        return False
    finally:
        if hasattr(layer, "close"):
            with contextlib.suppress(Exception):
                await _bounded(layer.close())


async def _bounded(operation: Any) -> Any:
    async with asyncio.timeout(limits.LAYER_SECONDS):
        return await operation
