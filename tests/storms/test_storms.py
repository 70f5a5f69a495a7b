"""All clients of a site come back at once, through nginx, and behave as PROTOCOL says.

The bounds hold on a busy machine. `make bench` measures what an idle one takes.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from bench.client import LoadClient
from bench.storm import failures
from harness.faults import KILL, PAUSE, Fault
from harness.rolling import roll
from harness.stack import Stack
from harness.waiting import wait_until

from .conftest import CLIENTS, Storm

pytestmark = pytest.mark.timeout(300, func_only=True)

BACK = 45.0  # seconds after the server is up again until the last client is back
SILENCE = 5.0  # seconds without an answer to a health check, beyond the time in which the server is away
AWAY = 12.0  # seconds in which a service is away


@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_all_connections_are_cut(make_storm: Storm, transport: str) -> None:
    report = make_storm("cut", transport=transport)
    check(report)
    assert report["failed"] <= CLIENTS / 10


def test_daphne_is_killed(make_storm: Storm) -> None:
    report = make_storm("crash")
    check(report)
    assert report["failed"] <= CLIENTS * attempts(report["up_again_s"])


def test_daphne_is_replaced(make_storm: Storm, target: Stack) -> None:
    """The new container is up before the old one closes its connections."""
    report = make_storm("roll", action=lambda client: _print(roll(target, "asgi")))
    check(report, away=0)
    assert report["failed"] <= CLIENTS / 10


def test_pages_poll_while_daphne_is_away(make_storm: Storm) -> None:
    """They must not keep Gunicorn from its other work."""
    report = make_storm("away", away=30.0)
    check(report)
    assert report["polls"]["sent"] >= CLIENTS / 2
    assert report["polls"]["statuses"].keys() <= {"200", "503"}, report["polls"]
    assert report["polls"]["statuses"]["200"] >= CLIENTS / 4, report["polls"]
    assert report["requests"]["beside"]["failed"] == 0
    assert report["requests"]["beside"]["p99_ms"] <= 2000, report["requests"]
    assert report["failed"] <= CLIENTS * attempts(report["up_again_s"])


@pytest.mark.parametrize(("service", "fault"), [("rabbitmq", KILL), ("postgres", PAUSE)], ids=str)
def test_a_service_is_away_meanwhile(make_storm: Storm, target: Stack, service: str, fault: Fault) -> None:
    def cut_without_it(client: LoadClient) -> None:
        with fault(target.service(service)):
            client.ask("cut rst")
            began = time.monotonic()
            wait_until(lambda: time.monotonic() - began >= AWAY, AWAY + 5, f"{AWAY} s")

    report = make_storm("command", action=cut_without_it)
    check(report, away=0)
    if service == "rabbitmq":
        assert report["back_s"]["last"] <= BACK, "RabbitMQ is needed by nobody"
        assert report["failed"] <= CLIENTS / 10
    else:
        assert report["failed"] > 0, "nobody can be identified without PostgreSQL"
        assert report["failed"] <= CLIENTS * attempts(report["up_again_s"])


def check(report: dict[str, Any], *, back: float = BACK, away: float | None = None) -> None:
    """Assert that all are back, with all updates once, and that the server was never in trouble. `away`: for
    how long it could not answer; by default, until it was up again.
    """
    assert not failures(report), failures(report)
    assert report["published"] > 0 and report["updates"] > 0
    assert report["last_back_after_up_s"] <= back
    silence = report["health"]["longest_silence_s"]
    assert silence <= SILENCE + (report["up_again_s"] if away is None else away)


def attempts(seconds: float) -> float:
    """How many attempts a client makes in so many seconds, on average: back-off with full jitter, whose limit
    doubles from 0.5 s to 10 s. And two, for those who draw short waits.
    """
    count, passed, limit = 2.0, 0.0, 0.5
    while passed < seconds:
        passed += limit / 2
        limit = min(10.0, 2 * limit)
        count += 1
    return count


def _print(text: str) -> None:
    print(text)
