"""TLS to RabbitMQ: the server is verified, every step has a time limit, and failures have clear messages."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.servers import RabbitMQ
from harness.tls import DAY, Authority, Pair
from sluice_updates.broker.address import Address
from sluice_updates.broker.connection import STEP_SECONDS, Broker, BrokerDown
from sluice_updates.checks import broker as checks_broker

# The duration of the longest step until failure, on a busy machine.
SOON = 3 * STEP_SECONDS + 2


@pytest.fixture
def url(rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch) -> str:
    """RabbitMQ's URL with TLS. Its authority is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(rabbitmq.authority))
    return rabbitmq.tls_url


@pytest.fixture
def broker(url: str) -> Iterator[Broker]:
    broker = Broker(url)
    yield broker
    broker.close()


def publish(broker: Broker) -> bool:
    """Publish to an exchange that always exists, without a receiver."""
    return broker.publish("amq.direct", "nobody", b"x", {})


def down(url: str) -> str:
    """Assert that publishing to the URL fails soon, and return the reason."""
    began = time.monotonic()
    with pytest.raises(BrokerDown) as caught:
        publish(Broker(url))
    assert time.monotonic() - began < SOON
    assert "guest" not in str(caught.value)
    return str(caught.value)


@contextlib.contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port at which every connection gets that response."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                wire, _ = server.accept()
                with wire, contextlib.suppress(OSError):
                    answer(wire)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def shaking_hands(pair: Pair) -> Callable[[socket.socket], None]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)

    def answer(wire: socket.socket) -> None:
        wire.settimeout(10)
        context.wrap_socket(wire, server_side=True).recv(1)

    return answer


def test_it_publishes(broker: Broker) -> None:
    assert publish(broker)
    connection = broker._connection
    assert connection.sock.version() in ("TLSv1.2", "TLSv1.3")
    for _ in range(3):
        broker.tick()
    assert publish(broker) and broker._connection is connection
    assert not broker.publish("there-is-none", "nobody", b"x", {})
    assert publish(broker) and broker._connection is connection


def test_a_large_message_and_an_empty_one(broker: Broker) -> None:
    for body in (b"x" * 1_000_000, b""):
        assert broker.publish("amq.direct", "nobody", body, {})


def test_the_port_without_a_number() -> None:
    assert (Address.parse("amqps://h/v").port, Address.parse("amqp://h/v").port) == (5671, 5672)
    assert Address.parse("amqps://u:p@[::1]/v").place == "[::1]:5671"
    assert "secret" not in repr(Address.parse("amqps://u:secret@h/v"))


def test_an_authority_that_is_not_trusted(rabbitmq: RabbitMQ) -> None:
    said = down(rabbitmq.tls_url)
    assert "its certificate is not trusted (" in said and "SSL_CERT_FILE" in said


def test_a_certificate_for_another_name(
    url: str, rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "its certificate is not for 127.0.0.1" in down(url.replace("localhost", "127.0.0.1"))
    place = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", rabbitmq.tls_port))
    look_up = socket.getaddrinfo

    def found(host: str, *others: Any, **more: Any) -> Any:
        return [place] if host == "mq.example.org" else look_up(host, *others, **more)

    monkeypatch.setattr(socket, "getaddrinfo", found)
    assert "its certificate is not for mq.example.org" in down(url.replace("localhost", "mq.example.org"))


@pytest.mark.image
def test_an_expired_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with answering(shaking_hands(authority.issue("localhost", -3 * DAY, timedelta(hours=-1)))) as port:
        said = down(f"amqps://guest:guest@localhost:{port}/")
    assert said == f"localhost:{port}: its certificate is refused (certificate has expired)"


def test_tls_to_a_plain_port_and_plain_to_a_tls_port(url: str, rabbitmq: RabbitMQ) -> None:
    said = down(f"amqps://guest:guest@localhost:{rabbitmq.port}/")
    assert f"port {rabbitmq.port} does not speak TLS" in said
    assert "wants TLS (amqps://)" in down(f"amqp://guest:guest@localhost:{rabbitmq.tls_port}/")


def test_a_server_that_sends_nothing_or_one_byte_at_a_time_times_out(url: str) -> None:
    """Each byte arrives in time, but the handshake never completes."""

    def drip(wire: socket.socket) -> None:
        wire.settimeout(0.2)
        for octet in b"\x16\x03\x03\x40\x00" + b"\x02" * 100:
            wire.sendall(bytes([octet]))
            with contextlib.suppress(TimeoutError):
                while wire.recv(65536):
                    pass
                return

    for answer in (lambda wire: wire.recv(65536) and wire.recv(1), drip):
        with answering(answer) as port:
            assert down(f"amqps://guest:guest@localhost:{port}/")


def test_a_frozen_broker(broker: Broker, rabbitmq: RabbitMQ) -> None:
    assert publish(broker)
    rabbitmq.pause()
    try:
        for _ in ("with a connection", "without"):
            began = time.monotonic()
            with pytest.raises(BrokerDown):
                publish(broker)
            broker.tick()
            broker.close()
            assert time.monotonic() - began < SOON
    finally:
        rabbitmq.resume()
    assert publish(broker)


def test_closing_the_connection_to_a_frozen_broker_does_not_wait(broker: Broker, rabbitmq: RabbitMQ) -> None:
    """TLS closes with a message and a response to it."""
    assert publish(broker)
    rabbitmq.pause()
    try:
        began = time.monotonic()
        broker.close()
        assert time.monotonic() - began < STEP_SECONDS / 2
    finally:
        rabbitmq.resume()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_opens_its_own_connection(broker: Broker) -> None:
    assert publish(broker)
    ours = broker._connection
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if publish(broker) and broker._connection is not ours else 2
            broker.close()
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert publish(broker) and broker._connection is ours, "the child has cut the parent's connection"


# ---- the checks that connect to the broker


def test_check_deploy_connects_by_tls(url: str, settings: Any, rabbitmq: RabbitMQ) -> None:
    settings.SLUICE_UPDATES_PUBLISHER_URL = settings.CELERY_BROKER_URL = url
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": "sluice_layer.RabbitmqChannelLayer", "CONFIG": {"host": url}}
    }
    assert checks_broker.check_broker() == []
    os.environ["SSL_CERT_FILE"] = "/nowhere"  # `url` puts it back
    found = checks_broker.check_broker()
    assert [message.id for message in found] == ["sluice_updates.W009"] * 3
    assert all("is not trusted" in message.msg for message in found)


def test_custom_tls_settings_are_skipped(
    rabbitmq: RabbitMQ, settings: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    settings.SLUICE_UPDATES_PUBLISHER_URL = ""
    settings.CELERY_BROKER_URL = url
    settings.CELERY_BROKER_USE_SSL = {"ca_certs": str(rabbitmq.authority)}
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "sluice_layer.RabbitmqChannelLayer",
            "CONFIG": {"host": url, "ssl_context": ssl.create_default_context()},
        }
    }
    assert checks_broker.check_broker() == []
