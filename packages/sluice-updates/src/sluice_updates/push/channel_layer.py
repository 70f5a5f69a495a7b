"""The hub's subscription to the channel layer.

Any channel layer works. Without one, updates arrive by another way or by the poll.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

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
from .way import LoopBackWay

logger = logging.getLogger(__name__)

_IN_MEMORY: Final = "channels.layers.InMemoryChannelLayer"


class LayerLink(LoopBackWay):
    """Receives the group's wake-ups, which carry the updates.

    `is_own` is asked with the identity of the database that a wake-up names. If it returns False, the wake-up
    is dropped. A loop-back needs none: it contains a random number that only this hub knows.
    """

    name = "layer"
    source = "the channel layer"

    def __init__(
        self,
        hub_id: str,
        wake_up: Callable[[Iterable[WokenUpdate], Mapping[str, Any] | None], None],
        is_own: Callable[[str | None], bool],
    ) -> None:
        super().__init__(hub_id)
        backend = _backend()
        self.configured = bool(backend)
        self.carries = backend != _IN_MEMORY
        self.proofs = 0  # failures in a row while a new connection to the broker worked
        self.on_broken: Callable[[], None] | None = None  # see suspect()
        self._wake_up = wake_up
        self._is_own = is_own

    async def subscribe(self) -> None:
        layer = _default_layer()
        channel = await _bounded(layer.new_channel())
        try:
            await _bounded(layer.group_add(GROUP, channel))
            self.established()
            await self._receive(layer, channel)
        finally:
            self.subscribed.clear()
            with contextlib.suppress(Exception):
                await _bounded(layer.group_discard(GROUP, channel))

    async def send(self, nonce: str) -> None:
        await _default_layer().group_send(GROUP, {"type": LOOP_BACK, "hub": self.hub_id, "nonce": nonce})

    async def suspect(self) -> None:
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

    def worked(self) -> None:
        self.proofs = 0

    async def _receive(self, layer: Any, channel: str) -> None:
        anew = asyncio.ensure_future(self.anew.wait())
        try:
            while not self.anew.is_set():
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
        elif kind == LOOP_BACK and message.get("hub") == self.hub_id:
            self.returned(str(message.get("nonce")))


def _backend() -> str:
    """The dotted path of the default layer's class; empty without a layer, or without Channels."""
    try:
        from channels.layers import channel_layers
    except ImportError:
        return ""
    return str((channel_layers.configs or {}).get("default", {}).get("BACKEND", ""))


def _default_layer() -> Any:
    """The layer of the setting CHANNEL_LAYERS."""
    from channels.layers import get_channel_layer

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
