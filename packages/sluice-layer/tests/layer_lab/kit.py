"""Building blocks of the scenarios: both layers, and a receiver that shows whether a layer still works."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any
from urllib.parse import quote

import pytest
from channels_rabbitmq.core import RabbitmqChannelLayer as Stock

from layer_lab.broker import PASSWORD, PLAIN_PASSWORD, PLAIN_USER, USER, VHOST, Broker
from layer_lab.faults import FaultProxy, proxy_to
from sluice_layer import RabbitmqChannelLayer as Ours

Layer = Any  # Stock or Ours; both have Channels' interface

# Each scenario runs on both layers. If the stock layer didn't fail where ours survives, the test would show
# nothing.
both = pytest.mark.parametrize(
    ("kind", "survives"), [(Stock, False), (Ours, True)], ids=["stock fails", "ours survives"]
)

DEADLINE = 10.0  # seconds within which a surviving layer works again


def url(kind: type, host: str, port: int) -> str:
    if kind is Stock:
        return f"amqp://{PLAIN_USER}:{PLAIN_PASSWORD}@{host}:{port}/{VHOST}"
    return f"amqp://{USER}:{quote(PASSWORD, safe='')}@{host}:{port}/{VHOST}"


@asynccontextmanager
async def layer_and_proxy(
    kind: type, broker: Broker, **options: Any
) -> AsyncIterator[tuple[Layer, FaultProxy]]:
    async with proxy_to(lambda: broker.address) as proxy:
        layer = kind(host=url(kind, "127.0.0.1", proxy.port), **options)
        try:
            yield layer, proxy
        finally:
            # The stock layer may hang in close(). Both layers leave only tasks, which end with the loop.
            await asyncio.wait({asyncio.ensure_future(layer.close())}, timeout=2)


async def until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(0.02)


async def give_up_during_an_outage(layer: Layer, proxy: FaultProxy) -> None:
    """Cancel a call during an outage, as Daphne does with a call that exceeds its time limits."""
    await proxy.refuse()
    await until(lambda: not is_up(layer), "noticing the outage")
    call = asyncio.ensure_future(layer.group_send("ears", {"type": "lost"}))
    await asyncio.wait({call}, timeout=0.2)
    call.cancel()
    await asyncio.wait({call})
    await proxy.accept()


def is_up(layer: Layer) -> bool:
    """Whether the layer believes that it is connected."""
    if isinstance(layer, Ours):
        status = layer.status()
        return bool(status["receiving"] or status["sending"])
    return bool(layer._carehare_connection.done())


def connection_of(layer: Layer) -> object:
    """A value that changes as soon as the layer notices that its connection is lost."""
    if isinstance(layer, Ours):
        status = layer.status()
        return status["connects"], status["receiving"], status["sending"]
    return layer._carehare_connection


@asynccontextmanager
async def during(fault: AbstractContextManager[None]) -> AsyncIterator[None]:
    """Apply the fault in a thread, because the proxy runs on this event loop."""
    await asyncio.to_thread(fault.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(fault.__exit__, None, None, None)


def held(layer: Layer) -> int:
    """Number of messages that the layer holds without having acknowledged them."""
    if isinstance(layer, Ours):
        return int(layer.status()["held"])
    return int(layer._multi_queue.n)


class Ear:
    """A member of a group that also sends to the group through the same layer."""

    def __init__(self, layer: Layer, group: str, channel: str) -> None:
        self.layer, self.group, self.channel = layer, group, channel
        self._number = 0

    @classmethod
    async def join(cls, layer: Layer, group: str = "ears") -> Ear:
        ear = cls(layer, group, await layer.new_channel())
        assert await attempt(lambda: layer.group_add(group, ear.channel), DEADLINE), (
            "could not join before the fault"
        )
        assert await ear.hears(), "received nothing before the fault"
        return ear

    async def hears(self, seconds: float = DEADLINE) -> bool:
        """Whether a message sent to the group arrives. Sends one every half second until one does."""
        deadline = time.monotonic() + seconds
        receiving = asyncio.ensure_future(self._receive_newest())
        sending: set[asyncio.Task[None]] = set()
        try:
            while time.monotonic() < deadline and not receiving.done():
                self._number += 1
                message = {"type": "ear", "number": self._number}
                task = asyncio.ensure_future(self.layer.group_send(self.group, message))
                task.add_done_callback(_forget_exception)
                sending.add(task)
                # wait_for would cancel the call, and cancellation is one of the faults under test.
                await asyncio.wait({receiving}, timeout=0.5)
            return receiving.done() and receiving.exception() is None
        finally:
            receiving.cancel()
            await asyncio.wait({receiving})

    async def _receive_newest(self) -> None:
        while True:
            message = await self.layer.receive(self.channel)
            if message["number"] == self._number:
                return


async def attempt(call: Callable[[], Awaitable[Any]], seconds: float) -> bool:
    """Repeat the call until one succeeds, or the time is over. A call that hangs stays pending."""
    deadline = time.monotonic() + seconds
    while True:
        task = asyncio.ensure_future(call())
        task.add_done_callback(_forget_exception)
        await asyncio.wait({task}, timeout=max(0.0, deadline - time.monotonic()))
        if task.done() and not task.cancelled() and task.exception() is None:
            return True
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(0.1)


def _forget_exception(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()
