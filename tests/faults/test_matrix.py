"""Each fault at each suitable place, with users on the stack all the time.

Nothing is lost or duplicated, new clients get everything at once, and nothing leaks.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from faults.outcome import Outcome
from faults.trial import RESTARTED, SILENT, SOON, STAYED, Trial
from harness.baseline import Baseline
from harness.client.page import TRANSPORTS
from harness.faults import CUT, KILL, PAUSE, TERM, Fault
from harness.stack import Stack


@dataclass(frozen=True)
class Strike:
    """A named fault and its duration in seconds. `restarts`: the struck service starts again. `silent`: its
    clients get no notice.
    """

    fault: Fault
    words: str
    seconds: float = 5.0
    restarts: bool = True
    silent: bool = False


@dataclass(frozen=True)
class Place:
    """One or more services, and what users notice when a fault strikes them.

    `slow`: the transports that need RESTARTED instead of SOON after a restart. `posts`: whether POSTs succeed
    during the fault. `live`: the transports whose updates arrive as fast as before during the fault.
    `impatient`: the service also restarts after a freeze. `count`: the number of containers to strike.
    """

    name: str
    services: tuple[str, ...]
    notice: str
    slow: tuple[str, ...] = ()
    posts: bool = True
    live: tuple[str, ...] = TRANSPORTS
    impatient: bool = False
    count: int | None = None


PAGES_FAIL = "pages and POSTs fail, and nothing is published"
STRIKES = (
    Strike(KILL, "killed, and started again after 5 s"),
    Strike(TERM, "stopped gracefully, and started again after 5 s"),
    Strike(PAUSE, "frozen for 40 s", seconds=40.0, restarts=False),
    Strike(
        CUT,
        "disconnected from all networks for 10 s, then back with other addresses",
        10.0,
        restarts=False,
        silent=True,
    ),
)
PLACES = (
    Place("nginx", ("nginx",), f"The site is down: {PAGES_FAIL}.", posts=False, live=()),
    Place(
        "wsgi",
        ("wsgi",),
        f"Sockets stay; {PAGES_FAIL}.",
        slow=("polling",),
        posts=False,
        live=(),
        impatient=True,  # Gunicorn ends workers that were silent for 30 s
    ),
    Place(
        "one-asgi",
        ("asgi",),
        "Half of the sockets reconnect to the other Daphne; pages, POSTs and polls work as usual.",
        slow=("websocket", "sse"),
        live=("polling",),
        count=1,
    ),
    Place(
        "asgi",
        ("asgi",),
        "No live updates; pages, POSTs and polls work as usual.",
        slow=("websocket", "sse"),
        live=("polling",),
    ),
    Place("workers", ("worker", "celery"), "Previews and crops wait; everything else works as usual."),
    Place(
        "rabbitmq",
        ("rabbitmq",),
        "Updates arrive up to a second later, and crops wait; everything else works as usual.",
    ),
    Place("postgres", ("postgres",), f"Sockets stay; {PAGES_FAIL}.", slow=TRANSPORTS, posts=False, live=()),
)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
@pytest.mark.parametrize("strike", STRIKES, ids=lambda strike: strike.fault.name)
def test_nothing_is_lost(
    standing: Stack, baseline: Baseline, outcome: Outcome, place: Place, strike: Strike
) -> None:
    outcome.describe(
        f"{' and '.join(place.services)}{' (one of two)' * (place.count == 1)} {strike.words}", place.notice
    )
    with Trial(standing, outcome) as trial:
        with ExitStack() as all_struck:
            for service in place.services:
                all_struck.enter_context(strike.fault(standing.service(service), count=place.count))
            trial.hold(strike.seconds)
        restarts = strike.restarts or (strike.fault is PAUSE and place.impatient)
        after(trial, place, restarts=restarts, silent=strike.silent)
    trial.closes(baseline)
    during(trial, place)


@pytest.mark.parametrize(
    "place", [place for place in PLACES if not place.count], ids=lambda place: place.name
)
def test_nothing_is_lost_when_it_comes_back_at_another_address(
    standing: Stack, baseline: Baseline, outcome: Outcome, place: Place
) -> None:
    outcome.describe(
        f"{' and '.join(place.services)} replaced by new containers with other addresses", place.notice
    )
    with Trial(standing, outcome) as trial:
        for service in place.services:
            standing.service(service).recreate()
        after(trial, place, restarts=True, silent=False)
    trial.closes(baseline)
    if place.posts:
        trial.answered()


def after(trial: Trial, place: Place, *, restarts: bool, silent: bool) -> None:
    """Assert the requirements for the time after the fault."""
    trial.over(
        RESTARTED if restarts and "websocket" in place.slow else SOON,
        polling=RESTARTED if restarts and "polling" in place.slow else SOON,
        stayed=SILENT if silent else STAYED,
    )


def during(trial: Trial, place: Place) -> None:
    """Assert the requirements for the time of the fault."""
    if place.posts:
        trial.answered()
    if place.live:
        trial.live(place.live)
