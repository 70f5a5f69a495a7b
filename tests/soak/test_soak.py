"""Half an hour of everyday use, compressed: 300 clients that come and go, continuous messages and crops, and
a fault a minute.

At the end nothing is lost, and all resources are back at their initial size. SOAK_MINUTES sets the duration
(make soak SOAK_MINUTES=5), in addition to the warm-up and the end.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import pytest
import requests
from faults.broker import connections_closed, memory_alarm
from faults.containers import Crowd

from harness.baseline import Baseline
from harness.faults import CRASH, CUT, KILL, PAUSE, TERM, Fault
from harness.site import Browser
from harness.stack import Stack
from harness.volume import sample
from harness.waiting import wait_until

MINUTES = float(os.environ.get("SOAK_MINUTES") or 30)
WARM_UP = 2.0  # minutes
CLIENTS, PEOPLE, STAYING = 300, 40, 30
STAY = 60.0  # seconds that a passing client stays
POLL = 10.0  # seconds between two polls of a client
WRITERS, RATE = 4, 3.0  # POSTs per second and writer
CROP_EVERY = 5.0  # seconds
EDGE = 32  # voxels along a crop's edge
MINUTE = 60.0
FAULT = 10.0  # seconds that a fault lasts
BACK = 90.0  # seconds after a fault until all services are healthy
CROPS_DONE = 180.0  # seconds for the last crops; one that the broker lost is handed over again
SPACING = 0.25  # seconds between two checks of the clock

Step = Callable[[Stack], AbstractContextManager[object]]


def _strikes(fault: Fault, service: str, count: int | None = None) -> Step:
    return lambda stack: fault(stack.service(service), count=count)


STEPS: dict[str, Step] = {
    "no fault": lambda stack: nullcontext(),
    "one asgi killed": _strikes(KILL, "asgi", 1),
    "rabbitmq stopped": _strikes(TERM, "rabbitmq"),
    "celery crashes": _strikes(CRASH, "celery"),
    "postgres restarted": _strikes(TERM, "postgres"),
    "both asgi stopped": _strikes(TERM, "asgi"),
    "wsgi frozen": _strikes(PAUSE, "wsgi"),
    "rabbitmq in alarm": memory_alarm,
    "nginx crashes": _strikes(CRASH, "nginx"),
    "one asgi off the network": _strikes(CUT, "asgi", 1),
    "worker killed": _strikes(KILL, "worker"),
    "rabbitmq frozen": _strikes(PAUSE, "rabbitmq"),
    "wsgi restarted": _strikes(TERM, "wsgi"),
    "connections to rabbitmq closed": connections_closed,
    "postgres frozen": _strikes(PAUSE, "postgres"),
}
_clock = threading.Event()  # never set: used as a clock


class Crops:
    """Orders a crop every few seconds, whatever the response."""

    def __init__(self, stack: Stack, browser: Browser) -> None:
        self.stack = stack
        self.browser = browser
        self.accepted = 0
        self.refused = 0
        self._volume = sample(stack)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="crops", daemon=True)
        self._thread.start()

    def finish(self) -> Counter[str]:
        """Stop ordering and wait until no crop is queued or running. Return the number of crops by state."""
        self._stop.set()
        self._thread.join(60)
        wait_until(
            lambda: not self.states().keys() & {"queued", "running"}, CROPS_DONE, "the last crops", every=1
        )
        return self.states()

    def states(self) -> Counter[str]:
        """The number of crops by state."""
        rows = self.stack.psql("SELECT state, count(*) FROM volumes_crop GROUP BY state")
        return Counter({state: int(count) for state, count in rows})

    def _run(self) -> None:
        places = random.Random(1)
        while not self._stop.wait(CROP_EVERY):
            x, y, z = (places.randrange(size - EDGE) for size in self._volume.size)
            box = self._volume.box(x, y, z, EDGE)
            try:
                answer = self.browser.post(f"/volumes/{self._volume.id}/crops/", {"box": box})
                accepted = answer.status_code == 202
            except requests.RequestException:
                accepted = False
            self.accepted += accepted
            self.refused += not accepted


@pytest.fixture(scope="module")
def living(image_tag: str) -> Iterator[Stack]:
    """A stack with two Daphnes. All clients have one address here, so its limit is raised."""
    with Stack(image_tag, {"CHANNELS_PER_ADDRESS_SECOND": "2000"}) as stack:
        stack.up("asgi", scale={"asgi": 2}, options=("--no-recreate", "--no-deps"))
        yield stack


@pytest.mark.timeout(0)
def test_soak(living: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    def say(line: str) -> None:
        with capsys.disabled():
            print(line, flush=True)

    say(f"\nwarm-up of {WARM_UP:g} minutes")
    live(living, WARM_UP, say)
    baseline = Baseline.take(living, memory=True)
    say(f"soak of {MINUTES:g} minutes")
    live(living, MINUTES, say)
    now = baseline.check()
    say(baseline.table(now))


def live(stack: Stack, minutes: float, say: Callable[[str], None]) -> None:
    """Run the load and the faults for this many minutes, then judge."""
    steps = itertools.cycle(STEPS.items())
    with Crowd(stack, [f"person-{number}" for number in range(PEOPLE)]) as crowd:
        crowd.gather(STAYING, poll_every=POLL)
        crowd.passers_by(*crowd.ids, every=STAY / (CLIENTS - STAYING), stay=STAY, poll_every=POLL)
        names = list(crowd.ids)
        for number in range(WRITERS):
            crowd.writer(f"writer-{number}", to=names, rate=RATE)
        crops = Crops(stack, stack.browser("alice"))
        end = time.monotonic() + minutes * MINUTE
        for minute in itertools.count(1):
            begin = time.monotonic()
            name, step = next(steps)
            with step(stack):
                _clock.wait(FAULT)
            stack.wait_healthy(BACK)
            while time.monotonic() < min(end, begin + MINUTE):
                _clock.wait(SPACING)
            say(f"minute {minute}: {name}; {_counted(crowd)}, {crops.accepted} crops ordered")
            if time.monotonic() >= end:
                break
        crowd.online()
    report = crowd.verdict(deadline=2 * POLL + 40)
    say(str(report))
    assert not report.violations, str(report)
    states = crops.finish()
    say(f"crops: {dict(states)}, {crops.refused} orders not accepted")
    assert set(states) == {"done"} and states["done"] >= crops.accepted > 0, states


def _counted(crowd: Crowd) -> str:
    there = sum(not page.ledger.left for page in crowd.pages)
    posts = sum((writer.answers for writer in crowd.writers), Counter[int]())
    answers = ", ".join(f"{count} × {status}" for status, count in sorted(posts.items()))
    return f"{there} of {len(crowd.pages)} clients there, {crowd.arrived()} arrivals, POSTs {answers}"
