"""A channel that is not read must not block the others."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from channels.consumer import AsyncConsumer

from layer_lab.broker import Broker
from layer_lab.kit import Ear, both, held, layer_and_proxy, until
from sluice_layer import RabbitmqChannelLayer as Ours
from sluice_layer import TidyConsumer


@both
def test_a_dead_member_of_a_busy_group(kind: type, survives: bool, broker: Broker) -> None:
    """Its consumer raised an exception, so nothing removed it from its group."""

    async def scenario() -> bool:
        async with layer_and_proxy(kind, broker, local_capacity=20) as (layer, _):
            ear = await Ear.join(layer)
            await layer.group_add("ears", await layer.new_channel())
            for number in range(20):
                await layer.group_send("ears", {"type": "busy", "number": -number})
            return await ear.hears(5)

    assert asyncio.run(scenario()) is survives


@both
def test_ordinary_coming_and_going(kind: type, survives: bool, broker: Broker) -> None:
    """Clients leave their group properly while messages for them are still on the way."""

    async def scenario() -> bool:
        async with layer_and_proxy(kind, broker, local_capacity=50) as (layer, _):
            ear = await Ear.join(layer)
            for _ in range(20):
                channel = await layer.new_channel()
                await layer.group_add("busy", channel)
                before = held(layer)
                for number in range(3):
                    await layer.group_send("busy", {"type": "busy", "number": number})
                await until(lambda: held(layer) >= min(before + 3, 50), "their arrival")  # noqa: B023
                await layer.group_discard("busy", channel)
            return await ear.hears(5)

    assert asyncio.run(scenario()) is survives


@both
def test_messages_for_nobody_expire_by_default(kind: type, survives: bool) -> None:
    """The stock layer keeps them for ever, although its documentation promises otherwise."""

    async def scenario() -> bool:
        return kind().local_expiry is not None

    assert asyncio.run(scenario()) is survives


def test_a_message_without_a_reader_gives_its_capacity_back(broker: Broker) -> None:
    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker, local_expiry=0.5) as (layer, _):
            await Ear.join(layer)
            await layer.send(await layer.new_channel(), {"type": "nobody reads this"})
            await until(lambda: held(layer) == 1, "it to arrive")
            await until(lambda: held(layer) == 0, "it to expire", 3)
            assert layer.status()["dropped"] == 1

    asyncio.run(scenario())


def test_a_slow_reader_loses_nothing(broker: Broker) -> None:
    """Its messages wait in RabbitMQ, in order."""

    async def scenario() -> list[int]:
        async with layer_and_proxy(Ours, broker, local_capacity=5) as (layer, _):
            channel = await layer.new_channel()
            for number in range(30):
                await layer.send(channel, {"type": "work", "number": number})
            got = []
            for _ in range(30):
                got.append((await layer.receive(channel))["number"])
                await asyncio.sleep(0.1)  # the work
            return got

    assert asyncio.run(scenario()) == list(range(30))


def test_a_channel_that_nobody_reads_is_forgotten(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker, abandoned_after=1.0) as (layer, _):
            ear = await Ear.join(layer)
            channel = await layer.new_channel()
            await layer.group_add("left", channel)
            await layer.group_send("left", {"type": "busy"})
            await until(lambda: "Forgetting channel" in caplog.text, "it to be forgotten", 5)
            await until_unbound(broker, "left")
            assert await ear.hears()

    asyncio.run(scenario())


def test_a_consumer_that_raises_leaves_nothing(broker: Broker) -> None:
    """TidyConsumer cleans up. Channels itself calls no disconnect() in this case."""

    class Consumer(TidyConsumer, AsyncConsumer):
        async def busy(self, event: dict[str, Any]) -> None:
            await self.channel_layer.group_add("raised", self.channel_name)
            raise RuntimeError("as consumers do")

    async def scenario() -> None:
        from channels import layers

        async with layer_and_proxy(Ours, broker) as (layer, _):
            ear = await Ear.join(layer)
            layers.channel_layers.set("default", layer)
            inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
            inbox.put_nowait({"type": "busy"})
            with pytest.raises(RuntimeError, match="as consumers do"):
                await Consumer()({"type": "channel"}, inbox.get, inbox.put)
            await layer.group_send("raised", {"type": "busy"})
            assert await ear.hears()
            assert held(layer) == 0
            await until_unbound(broker, "raised")

    asyncio.run(scenario())


def test_members_of_a_group_do_not_share_their_message(broker: Broker) -> None:
    """A consumer may change its event, as with the in-memory layer."""

    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker) as (layer, _):
            channels = [await layer.new_channel() for _ in range(2)]
            for channel in channels:
                await layer.group_add("pair", channel)
            await layer.group_send("pair", {"type": "event"})
            (await layer.receive(channels[0])).clear()
            assert await layer.receive(channels[1]) == {"type": "event"}

    asyncio.run(scenario())


async def until_unbound(broker: Broker, group: str) -> None:
    def bindings() -> str:
        return broker.control("list_bindings", "-p", "asgi", "--no-table-headers", "routing_key")

    deadline = asyncio.get_running_loop().time() + 10
    while group in (await asyncio.to_thread(bindings)).split():
        assert asyncio.get_running_loop().time() < deadline, f"{group} is still bound"


@pytest.fixture(autouse=True)
def _hear_warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
