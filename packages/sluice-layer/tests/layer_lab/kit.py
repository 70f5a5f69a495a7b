"""What the scenarios are made of: the two layers, and ears to tell whether one still works."""

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

Layer = Any  # Stock or Ours: what they have in common is Channels' interface

# Each scenario runs on both: the stock class must fail where ours survives, or the test shows nothing.
both = pytest.mark.parametrize(
    ("kind", "survives"), [(Stock, False), (Ours, True)], ids=["stock fails", "ours survives"]
)

DEADLINE = 10.0  # seconds in which a layer that survived works again


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
            # Stock can't be relied upon to close; both leave no more than tasks, which end with the loop.
            await asyncio.wait({asyncio.ensure_future(layer.close())}, timeout=2)


async def until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        await asyncio.sleep(0.02)


async def give_up_during_an_outage(layer: Layer, proxy: FaultProxy) -> None:
    """As Daphne does while RabbitMQ is away: it cancels whoever takes longer than its time-outs allow."""
    await proxy.refuse()
    await until(lambda: not is_up(layer), "noticing the outage")
    call = asyncio.ensure_future(layer.group_send("ears", {"type": "lost"}))
    await asyncio.wait({call}, timeout=0.2)
    call.cancel()
    await asyncio.wait({call})
    await proxy.accept()


def is_up(layer: Layer) -> bool:
    """Whether it takes itself for connected."""
    if isinstance(layer, Ours):
        status = layer.status()
        return bool(status["receiving"] or status["sending"])
    return bool(layer._carehare_connection.done())


def connection_of(layer: Layer) -> object:
    """Something that is another as soon as it has noticed that its connection is lost."""
    if isinstance(layer, Ours):
        status = layer.status()
        return status["connects"], status["receiving"], status["sending"]
    return layer._carehare_connection


@asynccontextmanager
async def during(fault: AbstractContextManager[None]) -> AsyncIterator[None]:
    """The fault, made and ended without holding up the loop, on which the proxy runs as well."""
    await asyncio.to_thread(fault.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(fault.__exit__, None, None, None)


def held(layer: Layer) -> int:
    """How many messages it holds that it has not acknowledged."""
    if isinstance(layer, Ours):
        return int(layer.status()["held"])
    return int(layer._multi_queue.n)


class Ear:
    """A member of a group, and whoever sends to it through the same layer."""

    def __init__(self, layer: Layer, group: str, channel: str) -> None:
        self.layer, self.group, self.channel = layer, group, channel
        self._number = 0

    @classmethod
    async def join(cls, layer: Layer, group: str = "ears") -> Ear:
        ear = cls(layer, group, await layer.new_channel())
        assert await attempt(lambda: layer.group_add(group, ear.channel), DEADLINE), "could not join at first"
        assert await ear.hears(), "heard nothing at first"
        return ear

    async def hears(self, seconds: float = DEADLINE) -> bool:
        """Whether a message comes round. Sends one every half second until one does."""
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
                # Not wait_for: to cancel a call is one of the faults under test.
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
    """Call until it raises nothing, for so long. A call that hangs is left hanging."""
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
