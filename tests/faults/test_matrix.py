"""Each fault at each place where it makes sense, with people on the stack all the time: nothing is lost,
nothing comes twice, who comes afterwards has all of it at once, and nothing is left behind.
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
    """A fault by name, how long it lasts (seconds), whether what it strikes begins anew, and whether
    whoever is connected through it isn't told.
    """

    fault: Fault
    words: str
    seconds: float = 5.0
    restarts: bool = True
    silent: bool = False


@dataclass(frozen=True)
class Place:
    """One or more services, and what people notice when they are struck.

    `slow`: the transports that need RESTARTED instead of SOON when it begins anew. `posts`: whether POSTs are
    answered meanwhile. `live`: the transports by which updates go on arriving meanwhile as fast as ever.
    `impatient`: it begins anew, too, when it was frozen. `count`: so many of its containers are struck.
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
        impatient=True,  # Gunicorn ends workers of which it heard nothing for 30 s
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
    outcome.says(
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
    outcome.says(
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
    """What is demanded once it is over."""
    trial.over(
        RESTARTED if restarts and "websocket" in place.slow else SOON,
        polling=RESTARTED if restarts and "polling" in place.slow else SOON,
        stayed=SILENT if silent else STAYED,
    )


def during(trial: Trial, place: Place) -> None:
    """What is demanded of the time that it lasted."""
    if place.posts:
        trial.answered()
    if place.live:
        trial.live(place.live)
