"""A stack with users before, during and after a fault, and the requirements after it.

Clients on all transports stay, others come and go, and two writers never pause. Nor does a foreign publisher,
whose wake-ups may reach nobody.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType

from docker.errors import APIError

from faults.foreign import Foreign, Forger
from faults.outcome import Outcome
from harness.baseline import Baseline
from harness.checker import Checker
from harness.client.ledger import Arrived, Ended, Hello
from harness.client.page import TRANSPORTS, Page
from harness.client.positions import Position
from harness.judge import Provoked, Report
from harness.site import Browser
from harness.stack import Stack
from harness.truth import read_heads
from harness.waiting import TimedOut, wait_until

SOON = 2.0  # seconds within which a client that connects after the fault has its updates
RESTARTED = 10.0  # the same after a restart of PostgreSQL, the hub or, for polling, Gunicorn
LIVE = 2.0  # seconds from commit to arrival, with or without RabbitMQ
STAYED = 25.0  # seconds within which clients that stayed have reconnected, including their back-off
SILENT = 60.0  # the same after a cut that the clients got no notice of
POLL = 1.0  # seconds between two polls of a client
HISTORY_REWRITTEN = 4010  # the close code

PEOPLE = ("alice", "bob")
RATE = 10.0  # POSTs per second and writer
_clock = threading.Event()  # never set: used as a clock


class Trial(Checker):
    """with Trial(stack, outcome) as trial:
        with KILL(stack.service("asgi")):
            trial.hold(5)
        trial.over(RESTARTED)
    trial.close_with(baseline)
    """

    def __init__(self, stack: Stack, outcome: Outcome, *, passing: bool = True) -> None:
        super().__init__(stack)
        self.outcome = outcome
        self.passing = passing
        self.staying: list[Page] = []
        self.begin: dict[str, Position] = {}
        self.held: tuple[float, float] | None = None
        kind = Foreign if "rabbitmq" in stack.services else Forger
        self.foreign = kind(stack, lambda: dict(self.staying[0].positions))

    def __enter__(self) -> Trial:
        try:
            self.staying = self.clients(*PEOPLE)
            self.begin = dict(self.staying[0].positions)
            if self.passing:
                self.passers_by(*PEOPLE)
            self.writer("alice", to=["bob", "alice"], rate=RATE)
            self.writer("bob", to=["alice", "bob"], rate=RATE)
            self.foreign.start()
            self.flows()
        except BaseException:
            self.__exit__(AssertionError, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.foreign.was_heard()
        except BaseException:
            kind = AssertionError
            raise
        finally:
            self.foreign.stop()
            super().__exit__(kind, error, trace)

    def flows(self, deadline: float = 30) -> None:
        """Wait until updates of another two seconds have arrived."""
        seen = self._arrived()
        wait_until(
            lambda: self._arrived() >= seen + len(TRANSPORTS) * len(PEOPLE) * RATE * 2,
            deadline,
            "updates on their way",
        )

    def hold(self, seconds: float) -> None:
        """Let the fault last. Afterwards `live` and `answered` assert the requirements for this time."""
        begin = time.monotonic()
        _clock.wait(seconds)
        self.held = (begin, time.monotonic())

    def over(
        self,
        within: float = SOON,
        *,
        transports: Iterable[str] = TRANSPORTS,
        polling: float | None = None,
        stayed: float = STAYED,
    ) -> None:
        """Assert the requirements after the fault.

        A client that connects now has all updates committed so far within `within` seconds (with polling,
        `polling`). Clients that stayed have reconnected within `stayed` seconds.
        """
        ended = time.monotonic()
        arriving = {self.newcomer("alice", transport, since=self.begin): within for transport in transports}
        for page in arriving:
            if page.transport == "polling" and polling is not None:
                arriving[page] = polling
        heads = wait_until(self._heads, max(RESTARTED, within), "the database", every=0.05) or {}
        taken = self._wait_for(arriving, heads, ended, prompt=True)
        self.outcome.measured("a new client", max(taken.values()))
        back = self._wait_for(dict.fromkeys(self.staying, stayed), heads, ended, prompt=False)
        self.outcome.measured("connected clients", max(back.values()))
        self.flows()

    def live(self, transports: Iterable[str] = TRANSPORTS, within: float = LIVE) -> None:
        """Assert that updates arrived at once during the fault, or with polling, at the next poll."""
        assert self.held is not None
        for transport in transports:
            pages = [page for page in self.staying if page.transport == transport]
            delays = self.delays(pages, *self.held)
            allowed = within + POLL * (transport == "polling")
            assert delays, f"no update committed during the fault arrived by {transport}"
            assert max(delays) <= allowed, f"{transport}: {max(delays):.2f} s from commit to arrival"
            if transport != "polling":
                self.outcome.measured("commit to arrival during the fault", max(delays))

    def answered(self) -> None:
        """Assert that every POST succeeded."""
        answers = [writer.answers for writer in self.writers]
        assert all(set(counted) == {201} for counted in answers), answers

    def closes(
        self,
        baseline: Baseline,
        *,
        deadline: float = RESTARTED,
        provoked: Provoked = lambda ledger, stream: False,
    ) -> Report:
        """Judge, then assert that all clients are gone, and the resources that they held."""
        rewritten = [
            page.name
            for page in self.pages
            for entry in page.ledger.entries
            if isinstance(entry, Ended) and entry.code == HISTORY_REWRITTEN
        ]
        assert not rewritten, f"closed, as if the past had changed: {rewritten}"
        report = self.verdict(deadline=deadline, provoked=provoked).check()
        baseline.check()
        return report

    def _arrived(self) -> int:
        return sum(len(page.ledger.arrived) for page in self.staying)

    def _heads(self) -> Mapping[str, Position] | None:
        with contextlib.suppress(AssertionError, APIError):  # it may just be starting
            return read_heads(self.stack)
        return None

    def _wait_for(
        self, pages: Mapping[Page, float], heads: Mapping[str, Position], since: float, *, prompt: bool
    ) -> dict[Page, float]:
        """Seconds from `since` until each client reached these heads.

        With `prompt`, waiting clients retry at once, so that the result does not include the back-off.
        """
        turns = itertools.count(1)

        def all_there() -> bool:
            late = [page for page in pages if reached(page, heads) is None]
            if prompt and next(turns) % 2 == 0:
                for page in late:
                    if not page.live:
                        self.call(page, "online")
            return not late

        with contextlib.suppress(TimedOut):
            wait_until(all_there, max(pages.values()), "all that was committed", every=0.1)
        taken = {page: at for page in pages if (at := reached(page, heads)) is not None}
        late = {page.name: page.ledger.entries[-3:] for page in pages if page not in taken}
        assert not late, f"not caught up yet: {late}"
        seconds = {page: max(0.0, at - since) for page, at in taken.items()}
        slow = {page.name: round(seconds[page], 2) for page in pages if seconds[page] > pages[page]}
        assert not slow, f"later than allowed: {slow}"
        return seconds


def reached(page: Page, heads: Mapping[str, Position]) -> float | None:
    """When a client had all updates up to these heads of its streams (monotonic), or None if it hasn't
    yet.
    """
    entries = list(page.ledger.entries)
    greeted = [entry for entry in entries if isinstance(entry, Hello)]
    if not greeted:
        return None
    at = greeted[0].at
    for stream, head in heads.items():
        begin = page.first_since.get(stream) or greeted[0].heads.get(stream, head)
        if begin.offset >= head.offset:
            continue
        got = (e.at for e in entries if isinstance(e, Arrived) and (e.stream, e.position) == (stream, head))
        if (arrived := next(got, None)) is None:
            return None
        at = max(at, arrived)
    return at


def warm_up(stack: Stack) -> None:
    """Make the stack do all that it does only once: each of Gunicorn's threads connects to the database, and
    each process to the broker. Wait until all services are healthy.
    """
    everybody: list[Callable[[], object]] = []
    for name in PEOPLE:
        browser = stack.browser(name)
        everybody += [_Visits(browser, number).run for number in range(8)]
    threads = [threading.Thread(target=visit) for visit in everybody]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with Checker(stack) as checker:
        checker.clients(*PEOPLE)
    checker.close()
    for name in stack.services:
        stack.service(name).wait_healthy()


class _Visits:
    """A user who views pages and sends messages, in a separate window."""

    def __init__(self, browser: Browser, number: int) -> None:
        self.browser = Browser(browser.url)
        self.browser.http.cookies.update(browser.http.cookies)
        self.number = number

    def run(self) -> None:
        for _ in range(5):
            self.browser.get("/updates/").raise_for_status()
            self.browser.send_message(PEOPLE[self.number % 2], "warm-up")
