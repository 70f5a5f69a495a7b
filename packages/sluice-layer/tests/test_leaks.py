"""Leaks of the upstream layer: sockets, log volume, and message contents in the log."""

from __future__ import annotations

import asyncio
import logging
import os

import pytest
from channels_rabbitmq.core import RabbitmqChannelLayer as Stock

from layer_lab.broker import PASSWORD, Broker
from layer_lab.kit import DEADLINE, Ear, both, is_up, layer_and_proxy, until
from sluice_layer import RabbitmqChannelLayer as Ours

SECRET = "only for whom it was sent to"


@both
def test_a_connection_that_cannot_be_set_up_is_closed(kind: type, survives: bool, broker: Broker) -> None:
    """If the exchange has other parameters, the stock layer leaks a socket per attempt, one per second."""
    exchange = "channels_declared_durable"

    async def scenario() -> bool:
        async with layer_and_proxy(kind, broker, groups_exchange=exchange) as (layer, proxy):
            joining = asyncio.ensure_future(layer.group_add("ears", await layer.new_channel()))
            await until(lambda: proxy.accepted >= 4, "four attempts")
            joining.cancel()
            await asyncio.wait({joining})
            return bool(proxy.open <= 1)

    broker.evaluate(
        f'rabbit_exchange:declare(rabbit_misc:r(<<"asgi">>, exchange, <<"{exchange}">>),'
        ' direct, true, false, false, [], <<"test">>).'
    )
    assert asyncio.run(scenario()) is survives


def test_no_descriptor_is_lost_in_reconnects(broker: Broker) -> None:
    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker, reconnect_delay=0.1) as (layer, proxy):
            ear = await Ear.join(layer)
            before = descriptors()
            for _ in range(20):
                connects = layer.status()["connects"]
                proxy.reset()
                await until(lambda: layer.status()["connects"] >= connects + 2, "both connections")  # noqa: B023
            assert await ear.hears()
            await until(lambda: descriptors() <= before, "descriptors to be as many as before")

    asyncio.run(scenario())


@both
def test_an_outage_fills_no_log(
    kind: type, survives: bool, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """The stock layer logs a traceback per second and process."""

    async def scenario() -> bool:
        async with layer_and_proxy(kind, broker) as (layer, proxy):
            await Ear.join(layer)
            proxy.reset_on_accept = True
            proxy.reset()
            accepted = proxy.accepted
            await until(lambda: proxy.accepted >= accepted + 4, "four attempts")
            worth_reading = [record for record in caplog.records if record.levelno >= logging.WARNING]
            return len(worth_reading) <= 2 and not any(record.exc_info for record in worth_reading)

    assert asyncio.run(scenario()) is survives


@both
def test_a_lost_message_is_not_logged(
    kind: type, survives: bool, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """The stock layer logs the whole message as a warning when the connection ends before the confirm."""

    async def scenario() -> None:
        async with layer_and_proxy(kind, broker) as (layer, proxy):
            await Ear.join(layer)
            proxy.strand()
            sending = asyncio.ensure_future(layer.group_send("ears", {"type": "private", "text": SECRET}))
            await asyncio.wait({sending}, timeout=0.2)
            proxy.reset()
            await asyncio.wait({sending}, timeout=DEADLINE)

    asyncio.run(scenario())
    assert (SECRET not in caplog.text) is survives


@both
def test_debugging_shows_no_message(
    kind: type, survives: bool, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """With everything at DEBUG, the log contains neither the messages nor the password."""
    caplog.set_level(logging.DEBUG)
    # The import of our layer has silenced carehare. With the stock layer alone, carehare would log.
    carehare = logging.getLogger("carehare")
    if kind is Stock:
        carehare.setLevel(logging.NOTSET)

    async def scenario() -> None:
        async with layer_and_proxy(kind, broker) as (layer, _):
            ear = await Ear.join(layer)
            await layer.send(ear.channel, {"type": "private", "text": SECRET})

    try:
        asyncio.run(scenario())
    finally:
        carehare.setLevel(logging.INFO)
    assert (SECRET not in caplog.text) is survives
    assert PASSWORD not in caplog.text


@both
def test_nothing_is_left_behind_by_a_loop(kind: type, survives: bool, broker: Broker) -> None:
    """A loop that ends without close(), as Daphne's and async_to_sync's do: its connection ends with it."""

    async def scenario(layer: object) -> None:
        channel = await layer.new_channel()  # type: ignore[attr-defined]
        await layer.group_add("ears", channel)  # type: ignore[attr-defined]

    async def many() -> bool:
        async with layer_and_proxy(kind, broker) as (_, proxy):
            host = f"amqp://plain:plain@127.0.0.1:{proxy.port}/asgi"
            for _ in range(5):
                await asyncio.to_thread(_run_once, kind, host, scenario)
            try:
                await until(lambda: proxy.open == 0, "connections to end", 2)
            except AssertionError:
                return False
            return True

    assert asyncio.run(many()) is survives


def _run_once(kind: type, host: str, scenario: object) -> None:
    async def run() -> None:
        await scenario(kind(host=host))  # type: ignore[operator]

    asyncio.run(run())


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_is_up_tells_the_truth(broker: Broker) -> None:
    """Tests the helper that the scenarios depend on."""

    async def scenario() -> None:
        for kind in (Stock, Ours):
            async with layer_and_proxy(kind, broker) as (layer, proxy):
                await Ear.join(layer)
                assert is_up(layer)
                await proxy.refuse()
                await until(lambda: not is_up(layer), f"{kind} noticing")
                await proxy.accept()

    asyncio.run(scenario())
