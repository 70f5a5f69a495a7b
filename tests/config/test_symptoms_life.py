"""docs/reference/symptoms.md: WebSockets open, and end, or nothing comes on them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import amqp
import pytest
from channels_rabbitmq.core import RabbitmqChannelLayer

from config.nginx_lab import UPGRADE, head
from config.symptoms_lab import SEED, Daphne, PlainNginx, assert_seen, close_code, seed_site
from harness.servers import RabbitMQ
from harness.waiting import wait_until


def test_a_proxy_gives_an_idle_socket_up(tmp_path: Path) -> None:
    """A second instead of the minute that nginx has by default; Daphne pings later than that."""
    with (
        seed_site(tmp_path, "good", "--ping-interval", "60", more="proxy_read_timeout 1s;") as (nginx, _),
        nginx.websocket() as wire,
    ):
        began = time.monotonic()
        code = close_code(wire)
        assert 0.9 < time.monotonic() - began < 10
        assert_seen("Cut every 60 s", f"{code} {nginx.log}")


def test_pings_keep_it_open(tmp_path: Path) -> None:
    """The same, and a ping every second of the two that are allowed."""
    with (
        seed_site(tmp_path, "good", "--ping-interval", "1", more="proxy_read_timeout 3s;") as (nginx, _),
        nginx.websocket() as wire,
    ):
        data, deadline = b"", time.monotonic() + 6
        while time.monotonic() < deadline:
            data += wire.recv(100)
            if data.count(b"\x89") >= 4:
                return
        raise AssertionError(f"four pings in six seconds were expected: {data!r}")


def test_daphne_is_restarted(tmp_path: Path) -> None:
    with seed_site(tmp_path, "good") as (nginx, daphne), nginx.websocket() as wire:
        daphne.signal(signal.SIGTERM)
        assert_seen("1006 at each restart", str(close_code(wire)))


def test_a_consumer_does_not_end(tmp_path: Path) -> None:
    with seed_site(tmp_path, "stays", "--application-close-timeout", "1") as (nginx, daphne):
        with nginx.websocket():
            pass
        wait_until(lambda: "was killed" in daphne.log, 10, "the warning")
        assert_seen("took too long to shut down and was killed", daphne.log)


def test_nginx_has_too_few_connections(tmp_path: Path) -> None:
    with Daphne(tmp_path, "good") as daphne:
        location = SEED.replace("$daphne", str(daphne.port))
        with PlainNginx(tmp_path, location, events="worker_connections 10;") as nginx, _many(nginx.port, 12):
            wait_until(lambda: "not enough" in nginx.log, 10, "the alert", every=0.05)
            assert_seen("worker_connections are not enough", nginx.log)


def test_nginx_has_too_few_file_handles(tmp_path: Path) -> None:
    with Daphne(tmp_path, "good") as daphne:
        location = SEED.replace("$daphne", str(daphne.port))
        with PlainNginx(tmp_path, location, main="worker_rlimit_nofile 16;") as nginx, _many(nginx.port, 20):
            wait_until(lambda: "open files" in nginx.log, 10, "the alert", every=0.05)
            assert_seen("24: Too many open files", nginx.log)


@contextlib.contextmanager
def _many(port: int, count: int) -> Iterator[None]:
    """So many clients that ask for a WebSocket, whatever comes of it."""
    with contextlib.ExitStack() as held:
        for _ in range(count):
            wire = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            wire.sendall(head("/channels/updates/", headers=UPGRADE))
        yield


# --- nothing comes ------------------------------------------------------------------------------------------


def test_celery_publishes_into_another_vhost(rabbitmq: RabbitMQ) -> None:
    """As CATMAID does: the layer is in one, the task's message goes to an exchange of Celery's own."""
    rabbitmq.ctl("add_vhost", "symptoms")
    try:
        rabbitmq.ctl("set_permissions", "-p", "symptoms", "guest", ".*", ".*", ".*")
        with (
            amqp.Connection(
                f"127.0.0.1:{rabbitmq.port}", "guest", "guest", virtual_host="symptoms", confirm_publish=True
            ) as connection,
            pytest.raises(amqp.NotFound) as error,
        ):
            message = amqp.Message(b"crop")
            connection.channel().basic_publish_confirm(message, exchange="groups", routing_key="updates-1")
        assert_seen("Pushes from tasks are lost", str(error.value))
    finally:
        rabbitmq.ctl("delete_vhost", "symptoms")


def test_a_member_that_nobody_reads_makes_the_stock_layer_deaf(
    rabbitmq: RabbitMQ, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        layer = RabbitmqChannelLayer(
            host=rabbitmq.url.rstrip("/") + "/%2f", local_capacity=5, remote_capacity=5
        )
        await layer.group_add("updates", await layer.new_channel())
        async with asyncio.timeout(20):
            while "at capacity" not in caplog.text:
                await layer.group_send("updates", {"type": "news"})
        await asyncio.wait({asyncio.ensure_future(layer.close())}, timeout=2)

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert_seen("Back-pressuring", caplog.text)
