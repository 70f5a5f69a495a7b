"""/healthz and /readyz."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from harness.servers import RabbitMQ, free_port
from sluice_stack.health import views as health

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def probes_of_this_test() -> Iterator[None]:
    health._probes.cache_clear()
    yield
    health._probes.cache_clear()


def test_alive_whatever_the_host_and_without_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_ask_database", lambda: 1 / 0)
    answer = Client().get("/healthz", headers={"Host": "anything"})
    assert (answer.status_code, answer.content) == (200, b"ok\n")
    assert answer["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_only_get(path: str) -> None:
    answer = Client().post(path)
    assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/healthz/", "/readyz/", "/x/healthz"])
def test_only_the_exact_path(path: str) -> None:
    assert Client().get(path).status_code == 404


def ready() -> tuple[int, dict[str, Any], float]:
    began = time.monotonic()
    answer = Client().get("/readyz", headers={"Host": "anything"})
    return answer.status_code, answer.json(), time.monotonic() - began


def test_ready_without_a_broker_is_ok() -> None:
    status, said, _ = ready()
    assert (status, said["status"]) == (200, "ok")
    assert said["database"]["status"] == "up"
    assert said["publisher"] == said["tasks"] == {"status": "off"}


def test_a_broker_that_refuses_is_degraded(settings: Any) -> None:
    settings.CELERY_BROKER_URL = f"amqp://tasks:secret@127.0.0.1:{free_port()}/celery"
    status, said, _ = ready()
    assert (status, said["status"]) == (200, "degraded")
    assert said["tasks"] == {"status": "down", "detail": "ConnectionRefusedError"}


def test_a_silent_broker_is_degraded_within_two_seconds(settings: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"amqp://u:secret@127.0.0.1:{mute.getsockname()[1]}/v"
        settings.CELERY_BROKER_URL = settings.SLUICE_UPDATES_PUBLISHER_URL = url
        status, said, seconds = ready()
    assert (status, said["status"]) == (200, "degraded")
    assert said["tasks"]["status"] == said["publisher"]["status"] == "down"
    assert seconds < 2


def test_a_broker_is_checked_by_tls(
    settings: Any, rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings.CELERY_BROKER_URL = settings.SLUICE_UPDATES_PUBLISHER_URL = rabbitmq.tls_url
    assert ready()[1]["tasks"] == {"status": "down", "detail": "SSLCertVerificationError"}
    assert f"localhost:{rabbitmq.tls_port}: its certificate is not trusted" in caplog.text
    monkeypatch.setenv("SSL_CERT_FILE", str(rabbitmq.authority))
    _, said, _ = ready()
    assert said["tasks"]["status"] == said["publisher"]["status"] == "up"


def test_a_silent_tls_broker_is_degraded_within_two_seconds(settings: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        settings.CELERY_BROKER_URL = f"amqps://u:secret@127.0.0.1:{mute.getsockname()[1]}/v"
        status, said, seconds = ready()
    assert (status, said["status"], said["tasks"]["status"]) == (200, "degraded", "down")
    assert seconds < 2


@pytest.mark.parametrize(
    ("part", "prefix"), [("publisher", "SLUICE_UPDATES_PUBLISHER"), ("tasks", "CELERY_BROKER")]
)
def test_a_brokers_password_is_read_at_each_check(
    settings: Any, rabbitmq: RabbitMQ, tmp_path: Path, part: str, prefix: str
) -> None:
    setattr(settings, f"{prefix}_URL", f"amqp://guest:outdated@127.0.0.1:{rabbitmq.port}/")
    setattr(settings, f"{prefix}_PASSWORD_FILE", str(tmp_path / "password"))
    assert ready()[1][part] == {"status": "down", "detail": "FileNotFoundError"}
    for password, state in (("old", "down"), ("guest", "up")):
        (tmp_path / "password").write_text(f"{password}\n")
        assert ready()[1][part]["status"] == state


def test_a_database_that_is_down_is_503(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def down() -> None:
        raise OperationalError('connection to "db.internal" failed:\nrefused')

    monkeypatch.setattr(health, "_ask_database", down)
    status, said, _ = ready()
    assert (status, said["status"]) == (503, "unavailable")
    assert said["database"] == {"status": "down", "detail": "OperationalError"}
    assert "db.internal" in caplog.text  # the log may name the host, the response may not


def test_a_part_that_hangs_blocks_only_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    go_on, asked = threading.Event(), []

    def hang() -> None:
        asked.append(1)
        go_on.wait(30)

    monkeypatch.setattr(health, "_ask_database", hang)
    monkeypatch.setattr(health, "PATIENCE_SECONDS", 0.05)
    for _ in range(5):
        status, said, seconds = ready()
        assert status == 503 and said["database"]["detail"].startswith("no answer for") and seconds < 1
    assert len(asked) == 1
    go_on.set()
