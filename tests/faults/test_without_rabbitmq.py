"""Faults of a stack without RabbitMQ, in which PostgreSQL's notifications wake Daphne.

Nothing is lost or duplicated, and updates arrive as fast, although a role that may not publish sends forged
notifications all the time.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Iterator
from typing import Self

import psycopg
import pytest
from docker.errors import APIError

from faults.conftest import two_daphnes
from faults.daphne import health
from faults.outcome import Outcome
from faults.test_matrix import PLACES, STRIKES, Place, Strike
from faults.test_matrix import test_nothing_is_lost as strike_and_judge
from faults.test_matrix import test_nothing_is_lost_when_it_comes_back_at_another_address as replace_and_judge
from faults.test_postgres import Greedy
from faults.trial import LIVE, Trial, warm_up
from harness.baseline import Baseline
from harness.stack import Stack
from harness.waiting import wait_until

AT_ONCE = 0.3
"""Seconds from commit to arrival, for half of the updates. The poll would take half a second."""
STRUCK = [place for place in PLACES if place.name in ("wsgi", "one-asgi", "asgi", "postgres")]
_LISTENERS = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE usename = 'asgi' AND query = 'SELECT pg_backend_pid()'
"""


@pytest.fixture(scope="module")
def standing(image_tag: str) -> Iterator[Stack]:
    """A stack without a broker, with two Daphnes."""
    with Stack(image_tag, broker=False) as stack:
        two_daphnes(stack)
        yield stack


@pytest.fixture(scope="module")
def warm(standing: Stack) -> Baseline:
    """Its idle resources before the first fault."""
    warm_up(standing)
    return Baseline.take(standing)


@pytest.mark.parametrize("place", STRUCK, ids=lambda place: place.name)
@pytest.mark.parametrize("strike", STRIKES, ids=lambda strike: strike.fault.name)
def test_nothing_is_lost(
    standing: Stack, baseline: Baseline, outcome: Outcome, place: Place, strike: Strike
) -> None:
    strike_and_judge(standing, baseline, outcome, place, strike)
    notifications_arrive(standing)


@pytest.mark.parametrize(
    "place", [place for place in STRUCK if not place.count], ids=lambda place: place.name
)
def test_nothing_is_lost_when_it_comes_back_at_another_address(
    standing: Stack, baseline: Baseline, outcome: Outcome, place: Place
) -> None:
    replace_and_judge(standing, baseline, outcome, place)
    notifications_arrive(standing)


def test_no_connections_left(standing: Stack, baseline: Baseline, outcome: Outcome) -> None:
    outcome.describe(
        "PostgreSQL out of connections for every role, for 10 s",
        "Sockets stay; pages and POSTs fail, and nothing is published.",
    )
    with Trial(standing, outcome) as trial:
        with Greedy(standing):
            trial.hold(10)
        trial.over()
    trial.closes(baseline)
    notifications_arrive(standing)


def test_listening_connections_are_cut(standing: Stack, baseline: Baseline, outcome: Outcome) -> None:
    outcome.describe(
        "every connection that listens is cut, again and again, for 10 s",
        "Updates arrive up to a second later; everything else works as usual.",
    )
    notifications_arrive(standing)
    with Trial(standing, outcome) as trial, Cutter(standing) as cutter:
        trial.hold(10)
    assert cutter.cut >= 4
    trial.closes(baseline)
    trial.answered()
    trial.live()
    notifications_arrive(standing)


def test_a_flood_of_notifications(standing: Stack, baseline: Baseline, outcome: Outcome) -> None:
    outcome.describe(
        "a role that may not publish sends notifications as fast as it can, for 10 s",
        "Everything works as usual.",
    )
    with Trial(standing, outcome) as trial, Flood(standing) as flood:
        trial.hold(10)
    assert flood.sent > 5000
    trial.closes(baseline)
    trial.answered()
    trial.live()


def test_updates_arrive_at_once(standing: Stack, baseline: Baseline, outcome: Outcome) -> None:
    outcome.describe("no fault, and no RabbitMQ", "Updates arrive within milliseconds.")
    notifications_arrive(standing)
    with Trial(standing, outcome) as trial:
        trial.hold(10)
    trial.closes(baseline)
    assert trial.held is not None
    pages = [page for page in trial.staying if page.transport != "polling"]
    delays = trial.delays(pages, *trial.held)
    outcome.measured("half of the updates, from commit to arrival", statistics.median(delays))
    assert statistics.median(delays) < AT_ONCE and max(delays) < LIVE


def notifications_arrive(stack: Stack) -> None:
    """Wait until each Daphne's notification to itself arrives."""

    def all_arrive() -> bool:
        try:
            reports = [health(replica) for replica in stack.service("asgi")]
        except (AssertionError, APIError):  # one of them is still starting
            return False
        return all((report["status"], report["way"]) == ("ok", "notify") for report in reports)

    wait_until(all_arrive, 30, "a notification at each Daphne", every=0.5)


class Cutter:
    """Ends listening connections twice a second."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.cut = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join(20)

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            ((count,),) = self.stack.psql(_LISTENERS)
            self.cut += int(count)


class Flood(Cutter):
    """Sends notifications without a pause."""

    sent = 0

    def _run(self) -> None:
        with psycopg.connect(
            host=self.stack.service("postgres")[0].addresses["data"],
            dbname="sluice",
            user="beat",
            password=self.stack.secrets()["db_beat"],
            autocommit=True,
        ) as connection:
            while not self._stop.is_set():
                connection.execute("NOTIFY sluice_updates, 'committed'")
                self.sent += 1
