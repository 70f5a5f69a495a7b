"""/channels/healthz: its report, and who may see it."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pamqp.commands
import pamqp.frame
import pytest

from harness.waiting import wait_until
from updates_lab.site import SOON, Person, Served, Site


def test_green_means_that_a_message_went_all_the_way_round(served: Served) -> None:
    wait_until(lambda: served.health()[1]["layer"]["works"], SOON, "the first loop-back")
    status, headers, body = served.get("/channels/healthz")
    report = json.loads(body)
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert headers["cache-control"] == "no-store"
    assert headers["x-backend"] == "asgi"
    assert report["status"] == "ok"
    assert report["way"] == "layer"
    assert 0 <= report["age"] < 15
    assert 0 < report["latency"] < 3
    assert report["database"]["works"] is True


@pytest.mark.parametrize(
    ("headers", "sees"),
    [
        ({}, True),
        ({"X-Real-IP": "127.0.0.1"}, True),
        ({"X-Real-IP": "10.0.0.1"}, False),
        ({"X-Real-IP": "nonsense"}, False),
        ({"X-Forwarded-For": "127.0.0.1, 10.0.0.1"}, False),
        ({"X-Real-IP": "10.0.0.1", "X-Health-Details": "yes"}, True),
    ],
)
def test_details_are_for_allowed_networks(served: Served, headers: dict[str, str], sees: bool) -> None:
    status, _, body = served.get("/channels/healthz", "GET", None, **headers)
    assert status == 200
    assert ("counters" in json.loads(body)) is sees


@pytest.mark.parametrize(
    ("origin", "answer"),
    [("own", "known"), ("http://evil.example", "refused"), ("null", "refused"), ("%ff%00[", "refused")],
)
def test_a_page_learns_whether_its_origin_is_accepted(served: Served, origin: str, answer: str) -> None:
    asked = served.origin if origin == "own" else origin
    _, _, body = served.get(f"/channels/healthz?origin={asked}", "GET", None, **{"X-Real-IP": "10.0.0.1"})
    assert json.loads(body) == {"status": "ok", "origin": answer}


def test_without_a_layer_updates_come_from_the_database(
    serve: Callable[..., Served], site: Site, person: Person
) -> None:
    served = serve(HUBSITE_LAYER="none")
    status, report = served.health()
    assert (status, report["status"], report["way"]) == (200, "ok", "database")
    with served.connect(person) as socket:
        socket.hello()
        site.send(person.stream, 1)
        assert socket.numbers(1, timeout=2) == [1]


def test_with_a_stuck_broker_it_is_degraded_and_delivers_within_two_seconds(
    serve: Callable[..., Served], site: Site, person: Person
) -> None:
    served = serve(HUBSITE_LAYER="stuck")
    status, report = served.health()
    assert (status, report["status"], report["way"]) == (200, "degraded", "database")
    with served.connect(person) as socket:
        socket.hello()
        site.send(person.stream, 1)
        assert socket.numbers(1, timeout=2) == [1]


def test_a_layer_that_is_dead_in_this_process_alone_ends_the_process(serve: Callable[..., Served]) -> None:
    served = serve(
        HUBSITE_LAYER="dead",
        HUBSITE_LIMITS='{"LOOPBACK_SECONDS": 0.2, "LOOPBACK_TIMEOUT_SECONDS": 0.5, "LAYER_SECONDS": 1}',
    )
    assert served.process.wait(20) == 70
    assert "the channel layer of this process is dead" in served.text()


def test_a_layer_that_is_stuck_in_all_processes_ends_none(serve: Callable[..., Served]) -> None:
    served = serve(
        HUBSITE_LAYER="stuck",
        HUBSITE_LIMITS='{"LOOPBACK_SECONDS": 0.1, "LOOPBACK_TIMEOUT_SECONDS": 0.2, "LAYER_SECONDS": 0.3}',
    )
    wait_until(lambda: served.health()[1]["layer"]["failures"] > 6, SOON, "failures")
    assert served.process.poll() is None
    assert served.health()[0] == 200


def test_a_broker_that_has_just_returned_ends_no_process(serve: Callable[..., Served]) -> None:
    """New connections reach it at once, the process's existing ones a little later."""
    served = serve(
        HUBSITE_LAYER="returning",
        HUBSITE_LIMITS='{"LOOPBACK_SECONDS": 0.5, "LOOPBACK_TIMEOUT_SECONDS": 0.5, "LAYER_SECONDS": 0.8}',
    )
    wait_until(lambda: served.health()[1]["layer"]["works"], SOON, "a loop-back", fatal=served._death)
    assert served.health()[1]["counters"]["loop_backs_failed"] >= 4
    assert served.stop() == 0


def test_an_outage_of_the_broker_fills_no_log(serve: Callable[..., Served]) -> None:
    served = serve(
        HUBSITE_LAYER="rabbitmq",
        HUBSITE_LAYER_URL="amqp://nobody:nothing@127.0.0.1:1/asgi",
        HUBSITE_LIMITS='{"LOOPBACK_SECONDS": 0.1, "LOOPBACK_TIMEOUT_SECONDS": 0.2, "LAYER_SECONDS": 0.3}',
    )
    wait_until(lambda: served.health()[1]["layer"]["failures"] > 9, 2 * SOON, "failures")
    assert served.text().count("not subscribed to the channel layer") == 1
    assert served.text().count("no loop-back arrives") == 1
    assert "Traceback" not in served.text()


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (None, "nothing listens there; is RabbitMQ up?"),
        ("3.7.28", "it is RabbitMQ 3.7.28, and the layer needs 3.8 or newer; upgrade RabbitMQ"),
    ],
)
def test_it_reports_why_no_message_returns(
    serve: Callable[..., Served], version: str | None, words: str
) -> None:
    with _introducing(version) if version else nullcontext(1) as port:
        served = serve(HUBSITE_LAYER="rabbitmq", HUBSITE_LAYER_URL=f"amqp://x:y@127.0.0.1:{port}/asgi")
        assert served.health()[1]["layer"]["works"] is False
        wait_until(lambda: words in (served.health()[1]["layer"]["trouble"] or ""), SOON, words)
    assert served.health()[0] == 200


def test_it_reports_no_trouble_when_healthy(served: Served) -> None:
    wait_until(lambda: served.health()[1]["layer"]["works"], SOON, "the first loop-back")
    assert served.health()[1]["layer"]["trouble"] is None


@contextmanager
def _introducing(version: str) -> Iterator[int]:
    """The port of a server that sends RabbitMQ's first frame with this version, and nothing else."""
    start = pamqp.commands.Connection.Start(
        server_properties={"product": "RabbitMQ", "version": version}, mechanisms="PLAIN", locales="en_US"
    )

    class Broker(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(8)
            self.request.sendall(pamqp.frame.marshal(start, 0))
            self.request.recv(1)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Broker) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
