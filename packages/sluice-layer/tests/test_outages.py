"""RabbitMQ with an alarm, paused, stopped, wiped, half-open: every call ends in time, and everything works
afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager

import pytest

from layer_lab.broker import PERMITTED, PERMITTED_TO_WRITE, USER, VHOST, Broker
from layer_lab.kit import Ear, both, during, layer_and_proxy, until
from sluice_layer import LayerUnavailable
from sluice_layer import RabbitmqChannelLayer as Ours

BOUND = 3.5  # seconds: the default operation_timeout plus some slack for a busy machine

FAULTS: dict[str, Callable[[Broker], AbstractContextManager[None]]] = {
    "in alarm": Broker.alarm,
    "paused": Broker.paused,
    "stopped": Broker.stopped,
}


@both
@pytest.mark.parametrize("fault", FAULTS)
def test_every_call_ends_in_time(kind: type, survives: bool, fault: str, broker: Broker) -> None:
    """The stock layer's calls hang for the whole fault."""

    async def scenario() -> bool:
        async with layer_and_proxy(kind, broker) as (layer, _):
            ear = await Ear.join(layer)
            other = await layer.new_channel()
            async with during(FAULTS[fault](broker)):
                bounded = [
                    await ends_in_time(lambda: layer.group_send("ears", {"type": "number", "number": 0})),
                    await ends_in_time(lambda: layer.send(ear.channel, {"type": "number", "number": 0})),
                    await ends_in_time(lambda: layer.group_add("others", other)),
                    await ends_in_time(lambda: layer.group_discard("others", other)),
                ]
            return all(bounded) and await ear.hears(20)

    assert asyncio.run(scenario()) is survives


def test_groups_can_be_joined_in_an_alarm(broker: Broker) -> None:
    """The alarm blocks publishers. Receivers are not affected, because they have a connection of their
    own.
    """

    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker) as (layer, _):
            await Ear.join(layer)
            async with during(broker.alarm()):
                with pytest.raises(LayerUnavailable, match=r"no answer|in alarm"):
                    await layer.group_send("ears", {"type": "blocked"})
                with pytest.raises(LayerUnavailable, match="in alarm"):
                    await layer.group_send("ears", {"type": "blocked"})
                await layer.group_add("others", await layer.new_channel())

    asyncio.run(scenario())


def test_an_alarm_is_not_taken_for_a_dead_connection(broker: Broker) -> None:
    """Neither side closes the connection, although RabbitMQ reads nothing, not even our heartbeats."""

    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker, heartbeat=2, operation_timeout=3.0) as (layer, _):
            ear = await Ear.join(layer)
            connects = layer.status()["connects"]
            async with during(broker.alarm()):
                for _ in range(3):
                    with pytest.raises(LayerUnavailable):
                        await layer.group_send("ears", {"type": "blocked", "number": 0})
                assert "in alarm" in layer.status()["trouble"]
            assert await ear.hears(20)
            assert layer.status()["connects"] == connects

    asyncio.run(scenario())


def test_messages_delayed_by_an_alarm_are_bounded(broker: Broker) -> None:
    """However many callers give up, at most a thousand messages wait in our buffers and arrive late."""

    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker, operation_timeout=1.0) as (layer, _):
            ear = await Ear.join(layer)
            async with during(broker.alarm()):
                sends = (
                    layer.group_send("ears", {"type": "late", "number": -1, "text": "x" * 100})
                    for _ in range(3000)
                )
                results = await asyncio.gather(*sends, return_exceptions=True)
                assert all(isinstance(result, LayerUnavailable) for result in results)
            assert await ear.hears(20)

    asyncio.run(scenario())


def test_an_outage_of_a_minute(broker: Broker) -> None:
    async def scenario() -> float:
        async with layer_and_proxy(Ours, broker) as (layer, _):
            ear = await Ear.join(layer)
            async with during(broker.stopped()):
                began = time.monotonic()
                while time.monotonic() < began + 60:  # the outage's length, with callers like a site's
                    with pytest.raises(LayerUnavailable):
                        await layer.group_send("ears", {"type": "lost"})
                ended = time.monotonic()
            assert await ear.hears()
            return time.monotonic() - ended

    print(f"heard again {asyncio.run(scenario()):.1f} s after the start of starting")


def test_wiped(broker: Broker) -> None:
    """RabbitMQ has lost everything of ours: exchange, queues and bindings are declared again."""

    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker) as (layer, _):
            ear = await Ear.join(layer)
            await layer.send("work", {"type": "before"})
            reading = asyncio.ensure_future(layer.receive("work"))
            await asyncio.wait({reading})
            reading = asyncio.ensure_future(layer.receive("work"))
            await asyncio.to_thread(broker.wipe)
            assert await ear.hears(20)
            await layer.send("work", {"type": "after"})
            assert await asyncio.wait_for(reading, 20) == {"type": "after"}

    asyncio.run(scenario())


def test_connections_closed_by_force(broker: Broker) -> None:
    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker) as (layer, _):
            ear = await Ear.join(layer)
            for _ in range(3):
                await asyncio.to_thread(broker.close_connections)
                assert await ear.hears()

    asyncio.run(scenario())


def test_faults_that_need_an_operator_are_logged_at_once(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault that needs an operator is logged at once, not with the reminder a minute later, even if the
    outage began with another fault.
    """

    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker) as (layer, _):
            ear = await Ear.join(layer)
            await asyncio.to_thread(broker.control, "clear_permissions", "--vhost", VHOST, USER)
            try:
                await asyncio.to_thread(broker.close_connections)
                await until(lambda: caplog.text.count("it refused") >= 2, "the refusals", 15)
            finally:
                permitted = (PERMITTED, PERMITTED_TO_WRITE, PERMITTED)
                await asyncio.to_thread(broker.control, "set_permissions", "--vhost", VHOST, USER, *permitted)
            assert await ear.hears()

    asyncio.run(scenario())
    said = [
        record.getMessage().partition(": ")[2]
        for record in caplog.records
        if record.name == "sluice_layer.link"
    ]
    # one per connection
    assert len([line for line in said if line.startswith("it closed the connection")]) == 2
    assert len([line for line in said if line.startswith("it refused")]) == 2


def test_own_queue_deleted(broker: Broker) -> None:
    """An operator deletes the queue. RabbitMQ tells only clients that asked for this notification."""

    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker) as (layer, _):
            ear = await Ear.join(layer)
            queue = ear.channel.partition("!")[0]
            resource = f'rabbit_misc:r(<<"asgi">>, queue, <<"{queue}">>)'
            await asyncio.to_thread(
                broker.evaluate,
                f"{{ok, Queue}} = rabbit_amqqueue:lookup({resource}),"
                ' rabbit_amqqueue:delete(Queue, false, false, <<"test">>).',
            )
            assert await ear.hears()

    asyncio.run(scenario())


def test_half_open(broker: Broker) -> None:
    """The peer vanishes silently. Both sides notice the missing heartbeats."""

    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker, heartbeat=2) as (layer, proxy):
            ear = await Ear.join(layer)
            proxy.strand()
            assert await ear.hears(20)

    asyncio.run(scenario())


def test_a_slow_network(broker: Broker) -> None:
    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker) as (layer, proxy):
            proxy.delay = 0.2
            ear = await Ear.join(layer)
            assert await ear.hears()

    asyncio.run(scenario())


def test_a_member_through_an_outage_needs_no_second_joining(broker: Broker) -> None:
    """A failed group_add is undone; a successful one lasts."""

    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker, operation_timeout=0.5) as (layer, proxy):
            ear = await Ear.join(layer)
            late = await layer.new_channel()
            await proxy.refuse()
            await until(lambda: not layer.status()["receiving"], "noticing")
            with pytest.raises(LayerUnavailable, match="group_add to late failed: RabbitMQ at"):
                await layer.group_add("late", late)
            await layer.group_discard("never-joined", late)
            await proxy.accept()
            assert await ear.hears()
            await layer.group_send("late", {"type": "not for us"})
            assert await ear.hears()
            assert layer.status()["held"] == 0

    asyncio.run(scenario())


async def ends_in_time(call: Callable[[], Awaitable[None]]) -> bool:
    """Whether the call returns or raises within the limit. A call that doesn't stays pending."""
    task = asyncio.ensure_future(call())
    done, _ = await asyncio.wait({task}, timeout=BOUND)
    if done and (error := task.exception()) is not None:
        assert isinstance(error, LayerUnavailable), repr(error)
    return bool(done)
