"""docs/reference/symptoms.md: RabbitMQ's symptoms, on a real RabbitMQ."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from channels_rabbitmq.core import RabbitmqChannelLayer as Stock

from harness.symptoms import assert_proved, assert_refuted, assert_seen
from layer_lab.broker import PLAIN_USER, VHOST, Broker, running
from layer_lab.kit import Ear, during, give_up_during_an_outage, layer_and_proxy, until
from sluice_layer import LayerRefused, LayerUnavailable
from sluice_layer import RabbitmqChannelLayer as Ours

REFUSED = {
    "PLAIN login refused": (f"{PLAIN_USER}:wrong", VHOST, "groups"),
    "not found": (f"{PLAIN_USER}:plain", "nowhere", "groups"),
    "access to vhost": (f"{PLAIN_USER}:plain", "other", "groups"),
    "access to exchange": (f"{PLAIN_USER}:plain", VHOST, "forbidden"),
}
"""The user, vhost and exchange of the client, by a quote from RabbitMQ's log."""


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with running() as broker:
        yield broker


@pytest.mark.parametrize("kind", [Stock, Ours], ids=["stock", "ours"])
def test_somebody_gives_up_while_rabbitmq_is_away(kind: type, broker: Broker) -> None:
    """As Daphne does when a browser's handshake takes too long."""
    heading = "Unhealthy after a restart of RabbitMQ"

    async def scenario() -> None:
        async with layer_and_proxy(kind, broker) as (layer, proxy):
            await Ear.join(layer)
            await asyncio.to_thread(assert_refuted, heading, {}, shell=broker.shell)
            await give_up_during_an_outage(layer, proxy)
            if kind is Stock:
                await until(layer._reconnect_forever_task.done, "the end of its one task")
                await asyncio.to_thread(assert_proved, heading, {}, shell=broker.shell)
            else:
                await asyncio.to_thread(assert_refuted, heading, {}, shell=broker.shell)

    asyncio.run(scenario())


def test_rabbitmq_refuses_who_asks(broker: Broker) -> None:
    heading, log = "RabbitMQ refused our credentials", "/var/log/rabbitmq/rabbit@*.log"
    host, port = broker.address
    errors = []

    async def ask(user: str, vhost: str, exchange: str) -> None:
        layer = Ours(host=f"amqp://{user}@{host}:{port}/{vhost}", groups_exchange=exchange)
        try:
            await layer.group_add("ears", await layer.new_channel())
        finally:
            await layer.close()

    for cause, who in REFUSED.items():
        from_now_on = {log: f"<({broker.logs} --since {time.time()} 2>&1)"}
        asyncio.run(ask(f"{PLAIN_USER}:plain", VHOST, "groups"))
        assert_refuted(heading, from_now_on)
        with pytest.raises(LayerRefused) as error:
            asyncio.run(ask(*who))
        errors.append(str(error.value))
        assert_proved(heading, from_now_on, which=cause)
    assert_seen(heading, "\n".join(errors))


def test_rabbitmq_is_in_alarm(broker: Broker) -> None:
    heading, states = "A memory or disk alarm", ("list_connections", "user", "state")

    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker) as (layer, _):
            await Ear.join(layer)
            await asyncio.to_thread(assert_refuted, heading, {}, shell=broker.shell)
            async with during(broker.alarm()):
                with pytest.raises(LayerUnavailable):
                    await layer.group_send("ears", {"type": "blocked"})
                await asyncio.to_thread(assert_proved, heading, {}, shell=broker.shell)
                listed = await asyncio.to_thread(broker.control, *states)
            await asyncio.to_thread(assert_refuted, heading, {}, shell=broker.shell)
        assert_seen(heading, f"rabbitmqctl {' '.join(states)}: {listed}")

    asyncio.run(scenario())
