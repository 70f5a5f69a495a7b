"""docs/reference/symptoms.md: Python's errors, and updates that don't arrive. One file, because both share a
RabbitMQ.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import amqp
import pytest
from channels_rabbitmq.core import RabbitmqChannelLayer as Stock
from channels_rabbitmq.util import GroupRecipient, serialize_message

from config.symptoms_lab import STOCK, Daphne, manage, seed_site
from harness.servers import RabbitMQ
from harness.symptoms import Proof, assert_proved, assert_refuted, assert_seen
from sluice_layer import RabbitmqChannelLayer as Ours


def test_the_stock_layer_is_made_where_no_loop_runs() -> None:
    with pytest.raises(RuntimeError) as error:
        Stock()
    heading = "Refusing to initialize channel layer"
    assert_seen(heading, f"{error.type.__name__}: {error.value}")
    assert_proved(heading, manage(**STOCK))
    shell = Proof.of(heading).command.partition(" ")[2]
    assert_proved(heading, manage(**STOCK) | {shell: "runworker previews"})
    assert_refuted(heading, manage(LAYER_URL="amqp://layer@127.0.0.1:1/asgi"))


@pytest.fixture
def ours(rabbitmq: RabbitMQ, tmp_path: Path) -> dict[str, str]:
    """For `manage`: this site with its own channel layer and a running broker."""
    password = tmp_path / "password"
    password.write_text("guest")
    return {
        "LAYER_URL": f"amqp://guest@127.0.0.1:{rabbitmq.port}/%2f",
        "LAYER_PASSWORD_FILE": str(password),
    }


def test_the_stock_layer_is_called_from_a_second_loop(ours: dict[str, str]) -> None:
    """Each `async_to_sync` in one of Gunicorn's threads creates a loop."""

    async def make() -> Stock:
        return Stock()

    async def send(layer: Stock) -> None:
        await layer.group_send("updates", {"type": "news"})

    layer = asyncio.run(make())
    with pytest.raises(RuntimeError) as error:
        asyncio.run(send(layer))
    assert_seen("different event loop", f"{error.type.__name__}: {error.value}")
    assert_proved("different event loop", manage(**STOCK))
    assert_refuted("different event loop", manage(**ours))


def test_a_channels_worker_on_the_stock_layer(ours: dict[str, str]) -> None:
    async def scenario() -> None:
        await Stock().receive("previews")

    with pytest.raises(RuntimeError) as error:
        asyncio.run(scenario())
    assert_seen("does not support Normal Channels", f"{error.type.__name__}: {error.value}")
    assert_proved("does not support Normal Channels", manage(**STOCK))
    assert_refuted("does not support Normal Channels", manage(**ours))


def test_models_are_imported_before_django_is_set_up(tmp_path: Path) -> None:
    heading = "Apps aren't loaded yet"
    with pytest.raises(BaseException) as error, Daphne(tmp_path, "config.symptoms_early:application"):
        pass
    assert_seen(heading, str(error.value))
    assert_proved(heading, {"python": f"cd tests; {sys.executable}", "mysite.asgi": "config.symptoms_early"})
    assert_refuted(heading, {"python": f"cd app; {sys.executable}"})


def test_a_consumer_asks_the_database_on_the_loop(tmp_path: Path) -> None:
    heading = "You cannot call this from an async context"
    with seed_site(tmp_path, "asks_the_database") as (nginx, daphne):
        places = {"/var/log/sluice/daphne.log": str(daphne.log_file), "consumers.py": "symptoms_field.py"}
        answer = nginx.upgrade("/channels/cured/")
        assert answer.status == 101
        assert_refuted(heading, places)
        answer = nginx.upgrade()
        assert_seen(heading, f"{answer.status} {daphne.log}")
        assert_proved(heading, places)


# --- no update arrives --------------------------------------------------------------------------------------


def test_celery_publishes_into_another_vhost(rabbitmq: RabbitMQ) -> None:
    """As in CATMAID: the layer uses one vhost, and the task's message goes to Celery's exchange in
    another.
    """
    heading, here = "Pushes from tasks are lost", {"VHOST": "symptoms"}
    rabbitmq.ctl("add_vhost", "symptoms")
    rabbitmq.ctl("set_permissions", "-p", "symptoms", "guest", ".*", ".*", ".*")

    def publish(vhost: str) -> None:
        address = f"127.0.0.1:{rabbitmq.port}"
        with amqp.Connection(address, "guest", "guest", virtual_host=vhost, confirm_publish=True) as wire:
            message = amqp.Message(serialize_message(GroupRecipient("updates-1"), {"type": "crop"}))
            wire.channel().basic_publish_confirm(message, exchange="groups", routing_key="updates-1")

    def scenario() -> None:
        with pytest.raises(amqp.NotFound) as error:
            publish("symptoms")
        assert_seen(heading, str(error.value))
        assert_proved(heading, here, shell=rabbitmq.shell)
        assert_refuted(heading, {"VHOST": "/"}, shell=rabbitmq.shell)
        publish("/")

    async def page() -> None:
        layer = Ours(host=f"{rabbitmq.url}%2f")
        channel = await layer.new_channel()
        await layer.group_add("updates-1", channel)
        await asyncio.to_thread(scenario)
        async with asyncio.timeout(10):
            assert await layer.receive(channel) == {"type": "crop"}
        await layer.close()

    try:
        asyncio.run(page())
    finally:
        rabbitmq.ctl("delete_vhost", "symptoms")


def test_a_member_that_nobody_reads_makes_the_stock_layer_deaf(
    rabbitmq: RabbitMQ, caplog: pytest.LogCaptureFixture
) -> None:
    heading, here = "Back-pressuring", {"-p asgi": "-p /", "100": "5"}

    async def scenario() -> None:
        layer = Stock(host=f"{rabbitmq.url}%2f", local_capacity=5, remote_capacity=5)
        await layer.group_add("updates", await layer.new_channel())
        await asyncio.to_thread(assert_refuted, heading, here, shell=rabbitmq.shell)
        async with asyncio.timeout(20):
            while "at capacity" not in caplog.text:
                await layer.group_send("updates", {"type": "news"})
        await asyncio.to_thread(assert_proved, heading, here, shell=rabbitmq.shell)
        await asyncio.wait({asyncio.ensure_future(layer.close())}, timeout=2)

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert_seen(heading, caplog.text)
