"""Normal channels: each is a durable queue that workers share."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter

import pytest

from layer_lab.broker import Broker
from layer_lab.kit import both, connection_of, during, layer_and_proxy, until
from sluice_layer import RabbitmqChannelLayer as Ours


@both
def test_normal_channels_exist(kind: type, survives: bool, broker: Broker) -> None:
    async def scenario() -> bool:
        async with layer_and_proxy(kind, broker) as (layer, _):
            try:
                await layer.send("plain-work", {"type": "work"})
                return bool(await layer.receive("plain-work") == {"type": "work"})
            except RuntimeError:
                return False

    assert asyncio.run(scenario()) is survives


def test_sent_before_anybody_reads(broker: Broker) -> None:
    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker) as (sender, _):
            for number in range(5):
                await sender.send("early", {"type": "work", "number": number})
        async with layer_and_proxy(Ours, broker) as (reader, _):
            got = [(await reader.receive("early"))["number"] for _ in range(5)]
            assert got == list(range(5))

    asyncio.run(scenario())


def test_shared_among_workers(broker: Broker) -> None:
    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker) as (one, _), layer_and_proxy(Ours, broker) as (two, _):
            got: Counter[int] = Counter()
            numbers: list[int] = []

            async def work(index: int, layer: Ours) -> None:
                while True:
                    numbers.append((await layer.receive("shared"))["number"])
                    got[index] += 1

            working = [asyncio.ensure_future(work(index, layer)) for index, layer in enumerate((one, two))]
            await asyncio.gather(*(one.send("shared", {"type": "work", "number": -1}) for _ in range(40)))
            await until(lambda: len(numbers) == 40, "both to be at work")
            numbers.clear()
            for number in range(100):
                await one.send("shared", {"type": "work", "number": number})
            await until(lambda: len(numbers) == 100, "all messages")
            assert sorted(numbers) == list(range(100))
            assert min(got[0], got[1]) >= 30
            for task in working:
                task.cancel()

    asyncio.run(scenario())


def test_another_worker_gets_a_dead_workers_messages(broker: Broker) -> None:
    async def scenario() -> None:
        async with (
            layer_and_proxy(Ours, broker) as (one, its_proxy),
            layer_and_proxy(Ours, broker) as (two, _),
        ):
            for number in range(20):
                await two.send("orphaned", {"type": "work", "number": number})
            in_hand, _ = await one.receive_unacknowledged("orphaned")
            assert in_hand["number"] == 0
            await its_proxy.refuse()  # the worker is dead
            got: set[int] = set()
            while len(got) < 20:
                message, done = await two.receive_unacknowledged("orphaned")
                got.add(message["number"])
                done()
            assert got == set(range(20))

    asyncio.run(scenario())


def test_acknowledging_twice_or_too_late_is_harmless(broker: Broker) -> None:
    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker) as (layer, proxy):
            await layer.send("twice", {"type": "work"})
            _, done = await layer.receive_unacknowledged("twice")
            done()
            done()
            await layer.send("twice", {"type": "work"})
            _, done = await layer.receive_unacknowledged("twice")
            before = connection_of(layer)
            proxy.reset()
            await until(lambda: connection_of(layer) != before, "noticing")
            again, done_again = await layer.receive_unacknowledged("twice")
            done()
            done_again()
            assert again == {"type": "work"}
            await layer.send("twice", {"type": "more work"})
            assert await layer.receive("twice") == {"type": "more work"}

    asyncio.run(scenario())


def test_a_reader_that_stops_gives_back_what_it_fetched(broker: Broker) -> None:
    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker) as (one, _), layer_and_proxy(Ours, broker) as (two, _):
            for number in range(10):
                await one.send("idle", {"type": "work", "number": number})
            assert (await one.receive("idle"))["number"] == 0
            got = [(await asyncio.wait_for(two.receive("idle"), 20))["number"] for _ in range(9)]
            assert got == list(range(1, 10))

    asyncio.run(scenario())


def test_a_queue_that_is_deleted(broker: Broker) -> None:
    """Its sender and its reader both declare it again, and no message is lost."""

    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker) as (layer, _):
            await layer.send("deleted", {"type": "work"})
            assert await layer.receive("deleted") == {"type": "work"}
            reading = asyncio.ensure_future(layer.receive("deleted"))
            await asyncio.to_thread(broker.control, "delete_queue", "-p", "asgi", "asgi.normal.deleted")
            await layer.send("deleted", {"type": "more work"})
            assert await asyncio.wait_for(reading, 10) == {"type": "more work"}

    asyncio.run(scenario())


def test_a_queue_that_was_made_with_other_limits(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)

    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker, remote_capacity=7) as (before, _):
            await before.send("resized", {"type": "before"})
        async with layer_and_proxy(Ours, broker) as (after, _):
            await after.send("resized", {"type": "after"})
            assert [await after.receive("resized") for _ in range(2)] == [
                {"type": "before"},
                {"type": "after"},
            ]

    asyncio.run(scenario())
    assert caplog.text.count("asgi.normal.resized keeps its old remote_capacity") == 1


def test_survives_a_restart_of_the_broker(broker: Broker) -> None:
    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker) as (layer, _):
            await layer.send("kept", {"type": "work"})
            async with during(broker.stopped()):
                pass
            assert await asyncio.wait_for(layer.receive("kept"), 20) == {"type": "work"}

    asyncio.run(scenario())


def test_one_normal_channel_in_trouble_harms_no_other(broker: Broker) -> None:
    """If the user has no permission for a channel, the groups still work."""

    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker) as (layer, _):
            await layer.new_channel()
            connects = None
            broker.control("set_permissions", "-p", "asgi", "layer", "^(channels_.*|groups)$", ".*", ".*")
            try:
                reading = asyncio.ensure_future(layer.receive("forbidden"))
                channel = await layer.new_channel()
                await layer.group_add("ears", channel)
                connects = layer.status()["connects"]
                await asyncio.wait({reading}, timeout=1)
                await layer.group_send("ears", {"type": "hello"})
                assert await layer.receive(channel) == {"type": "hello"}
                assert layer.status()["connects"] <= connects + 1
                reading.cancel()
            finally:
                permitted = r"^(channels_.*|groups|asgi\.normal\..*)$"
                broker.control("set_permissions", "-p", "asgi", "layer", permitted, ".*", permitted)

    asyncio.run(scenario())
