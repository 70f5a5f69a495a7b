"""The ways in which channels_rabbitmq 4.0.1 dies for good, and its successor survives.

D1–D7 have the numbers of upstream's defects in the README. D8 and D9 were found later.
"""

from __future__ import annotations

import asyncio

import msgpack
import pytest

from layer_lab.broker import Broker
from layer_lab.kit import (
    DEADLINE,
    Ear,
    Ours,
    attempt,
    both,
    connection_of,
    give_up_during_an_outage,
    held,
    layer_and_proxy,
    until,
)


@both
def test_d1_a_caller_gives_up_during_an_outage(kind: type, survives: bool, broker: Broker) -> None:
    async def scenario() -> bool:
        async with layer_and_proxy(kind, broker) as (layer, proxy):
            ear = await Ear.join(layer)
            await give_up_during_an_outage(layer, proxy)
            return await ear.hears()

    assert asyncio.run(scenario()) is survives


@both
def test_d2_connection_lost_while_declaring(kind: type, survives: bool, broker: Broker) -> None:
    """As happens in a rolling restart."""

    async def scenario() -> bool:
        async with layer_and_proxy(kind, broker) as (layer, proxy):
            ear = await Ear.join(layer)
            proxy.cut_on = b"\x06groups\x06direct"  # exchange.declare
            proxy.reset()
            await until(lambda: proxy.cut_on is None, "declaring again")
            return await ear.hears()

    assert asyncio.run(scenario()) is survives


@both
def test_d3_closed_during_the_handshake(kind: type, survives: bool, broker: Broker) -> None:
    """As a load balancer, a container engine's proxy or a booting node does."""

    async def scenario() -> bool:
        async with layer_and_proxy(kind, broker) as (layer, proxy):
            ear = await Ear.join(layer)
            proxy.fin_on_accept = 1
            proxy.reset()
            await until(lambda: not proxy.fin_on_accept, "connecting again")
            return await ear.hears()

    assert asyncio.run(scenario()) is survives


@both
def test_d3_silence_during_the_handshake(kind: type, survives: bool, broker: Broker) -> None:
    """The port accepts connections but sends nothing, as behind a firewall that drops packets."""

    async def scenario() -> bool:
        async with layer_and_proxy(kind, broker) as (layer, proxy):
            ear = await Ear.join(layer)
            proxy.silent_on_accept = 2
            proxy.reset()
            await until(lambda: proxy.silent_on_accept < 2, "connecting again")
            return await ear.hears()

    assert asyncio.run(scenario()) is survives


@both
def test_d4_more_groups_than_amqp_channels(kind: type, survives: bool, broker: Broker) -> None:
    """2,047 groups need one channel more than the broker's default allows. One group per user reaches that
    number.
    """

    async def scenario() -> bool:
        async with layer_and_proxy(kind, broker) as (layer, proxy):
            ear = await Ear.join(layer)
            for start in range(0, 2100, 100):
                await asyncio.gather(
                    *(layer.group_add(f"group-{start + number}", ear.channel) for number in range(100))
                )
            before = connection_of(layer)
            proxy.reset()
            await until(lambda: connection_of(layer) != before, "noticing the reset")
            return await ear.hears()

    assert asyncio.run(scenario()) is survives


@both
def test_d5_a_delivery_stays_unacknowledged(kind: type, survives: bool, broker: Broker) -> None:
    """RabbitMQ closes the channel after consumer_timeout, and keeps the connection. From 4.3 on it does so
    only for quorum queues, which we don't use.
    """
    minds = broker.version() < (4, 3)

    async def scenario() -> bool:
        async with layer_and_proxy(kind, broker) as (layer, proxy):
            ear = await Ear.join(layer)
            closed = proxy.watch(b"PRECONDITION_FAILED")
            await layer.send(await layer.new_channel(), {"type": "nobody reads this"})
            await asyncio.wait({asyncio.ensure_future(closed.wait())}, timeout=DEADLINE if minds else 5)
            assert closed.is_set() is minds
            return await ear.hears()

    with broker.setting("consumer_timeout", "1000"):
        assert asyncio.run(scenario()) is (survives or not minds)


@both
@pytest.mark.parametrize("limit", ["channel_max", "heartbeat"])
def test_d6_a_limit_is_zero(kind: type, survives: bool, limit: str, broker: Broker) -> None:
    """Zero means no limit in RabbitMQ."""

    async def scenario() -> bool:
        async with layer_and_proxy(kind, broker) as (layer, _):
            channel = await layer.new_channel()
            return await attempt(lambda: layer.group_add("ears", channel), 5)

    with broker.setting(limit, "0"):
        assert asyncio.run(scenario()) is survives


@both
def test_d7_more_calls_at_once_than_amqp_channels(kind: type, survives: bool, broker: Broker) -> None:
    """As happens when all sockets reconnect."""

    async def scenario() -> bool:
        # On a busy machine, 2,500 bindings may take longer than the default limit for each.
        options = {"operation_timeout": 30.0} if kind is Ours else {}
        async with layer_and_proxy(kind, broker, **options) as (layer, _):
            ear = await Ear.join(layer)
            calls = (layer.group_add(f"group-{number}", ear.channel) for number in range(2500))
            results = await asyncio.gather(*calls, return_exceptions=True)
            return not any(isinstance(result, BaseException) for result in results)

    assert asyncio.run(scenario()) is survives


@both
def test_d8_full_when_the_connection_is_lost(kind: type, survives: bool, broker: Broker) -> None:
    """Messages held from before the loss count against the capacity. The stock layer asserts that the
    capacity can't be exceeded.
    """

    async def scenario() -> bool:
        async with layer_and_proxy(kind, broker, local_capacity=10) as (layer, proxy):
            ear = await Ear.join(layer)
            idle = await layer.new_channel()
            for number in range(10):
                await layer.send(idle, {"type": "nobody reads this", "number": number})
            await until(lambda: held(layer) == 10, "the window to fill")
            before = connection_of(layer)
            proxy.reset()
            await until(lambda: connection_of(layer) != before, "noticing the reset")
            # The stock layer still delivers the message that kills it.
            return await ear.hears() and await ear.hears()

    assert asyncio.run(scenario()) is survives


@both
@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1", b"\x01", msgpack.packb({"no": "recipient"}), msgpack.packb({"__asgi_group__": []})],
    ids=repr,
)
def test_d9_a_message_that_is_none(kind: type, survives: bool, body: bytes, broker: Broker) -> None:
    """Any client that may write to the exchange `groups` could stop every reader."""

    async def scenario() -> bool:
        async with layer_and_proxy(kind, broker) as (layer, _):
            ear = await Ear.join(layer)
            connection = await layer.carehare_connection
            await connection.publish(body, exchange_name="groups", routing_key="ears")
            return await ear.hears(5)

    assert asyncio.run(scenario()) is survives
