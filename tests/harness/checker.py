"""Clients and writers that run during a test, and the verdict on them at its end.

with Checker(stack) as checker:
    checker.client("bob", "websocket")
    checker.writer("alice", to="bob", rate=10)
    … do something terrible to the stack …
checker.verdict().check()
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import Any

import requests

from .client.http import Place
from .client.page import TRANSPORTS, Page
from .client.positions import Position
from .client.websocket import WebSocket
from .judge import Provoked, Report, judge
from .site import Browser
from .target import Target
from .truth import published, read_heads, read_truth
from .waiting import TimedOut, wait_until


class Writer:
    """Sends messages from one user to others at a steady rate, even if they fail, and counts the responses by
    status.
    """

    def __init__(self, browser: Browser, to: Iterable[str], rate: float) -> None:
        self.browser = browser
        self.to = list(to)
        self.rate = rate
        self.answers: Counter[int] = Counter()
        self.answered: dict[str, float] = {}  # by title: when the response confirmed the commit (monotonic)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"writer {browser.name}", daemon=True)

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sending. No request is in flight when this returns."""
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "a POST has not ended within 60 s"

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(1 / self.rate):
            number += 1
            body: dict[str, str] = {
                "to": self.to[number % len(self.to)],
                "title": f"{self.browser.name} {number}",
                "text": "…",
            }
            try:
                status = self.browser.post("/messages/", body).status_code
            except requests.RequestException:
                status = 0
            self.answers[status] += 1
            if status == 201:
                self.answered[body["title"]] = time.monotonic()


class Checker:
    """Clients on their own event loop and writers in threads. The end of the block stops them in the right
    order.
    """

    def __init__(self, stack: Target) -> None:
        self.stack = stack
        self.before = read_heads(stack)
        self.pages: list[Page] = []
        self.writers: list[Writer] = []
        self._tasks: list[tuple[Page, Future[None]]] = []
        self._numbers = itertools.count(1)
        self._passing: Future[None] | None = None
        self._enough = asyncio.Event()  # no more short-lived clients shall come
        self._browsers: dict[str, Browser] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="clients", daemon=True)
        self._thread.start()

    def __enter__(self) -> Checker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self.writers:
            if writer._thread.is_alive():
                writer.stop()
        if self._passing is not None:
            self._loop.call_soon_threadsafe(self._enough.set)
            self._passing.result(10)
            for page in self.pages:
                if page.ledger.passing and not page.ledger.left:
                    self.call(page, "leave")
            self._passing = None
        if kind is not None:
            self.close()

    def client(
        self,
        user: str,
        transport: str = "websocket",
        *,
        streams: Iterable[str] | None = None,
        since: dict[str, Position] | None = None,
        deadline: float = 15,
    ) -> Page:
        """Add a client of the user and wait for its first hello."""
        page = self.newcomer(user, transport, streams=streams, since=since)
        wait_until(
            lambda: page.positions and (page.live or page.transport == "polling"),
            deadline,
            f"hello for {page.name}",
            every=0.02,
        )
        return page

    def newcomer(
        self,
        user: str,
        transport: str = "websocket",
        *,
        streams: Iterable[str] | None = None,
        since: dict[str, Position] | None = None,
        through: tuple[str, int] | None = None,
        poll_every: float = 1.0,
    ) -> Page:
        """Add a client of the user without waiting. `through`: a host and port to connect to instead of the
        site's.
        """
        page = Page(
            f"client {next(self._numbers)} ({user}, {transport})",
            replace(Place.of(self.stack.url, self.stack.certificate), through=through),
            self.browser(user).cookies,
            transport=transport,
            streams=streams,
            since=since,
            poll_every=poll_every,
        )
        return self._run(page)

    def _run(self, page: Page) -> Page:
        self.pages.append(page)
        self._tasks.append((page, asyncio.run_coroutine_threadsafe(page.run(), self._loop)))
        return page

    def passers_by(self, *users: str, every: float = 1.0, stay: float = 3.0, poll_every: float = 1.0) -> None:
        """Start a short-lived client every `every` seconds, on all transports in turn, until the end of the
        block. Each stays for `stay` seconds.

        Some continue from an earlier client's positions, as a page does after a link from another page.
        """
        for user in users:
            self.browser(user)
        self._enough.clear()
        coming = self._pass_by(users, every, stay, poll_every)
        self._passing = asyncio.run_coroutine_threadsafe(coming, self._loop)

    async def _pass_by(self, users: Sequence[str], every: float, stay: float, poll_every: float) -> None:
        known: dict[str, dict[str, Position]] = {}
        for number in itertools.count():
            user = users[number % len(users)]
            transport = TRANSPORTS[number // len(users) % len(TRANSPORTS)]
            page = self.newcomer(user, transport, since=known.pop(user, None), poll_every=poll_every)
            page.ledger.passing = True
            try:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._enough.wait(), every)
                    return
            finally:
                self._loop.call_later(stay, self._go_on, page, known, user)

    def _go_on(self, page: Page, known: dict[str, dict[str, Position]], user: str) -> None:
        page.leave()
        known[user] = dict(page.positions)

    def anonymous(self) -> Page:
        """Add a client without a session, without waiting."""
        return self._run(
            Page(
                f"client {next(self._numbers)} (anonymous)",
                Place.of(self.stack.url, self.stack.certificate),
                "",
            )
        )

    def bare_frames(self, user: str) -> list[Any]:
        """Connect a client that offers no subprotocol, and return the list that its frames are added to.

        The judge ignores this client.
        """
        frames: list[Any] = []
        place, cookies = Place.of(self.stack.url, self.stack.certificate), self.browser(user).cookies
        connecting = WebSocket.connect(place, "/channels/updates/", cookies=cookies, subprotocols="")
        socket = asyncio.run_coroutine_threadsafe(connecting, self._loop).result(10)

        async def listen() -> None:
            while True:
                frames.append(json.loads(await socket.receive()))

        asyncio.run_coroutine_threadsafe(listen(), self._loop)
        return frames

    def clients(self, *users: str, transports: Iterable[str] = TRANSPORTS) -> list[Page]:
        """One client per user and transport."""
        return [self.client(user, transport) for user in users for transport in transports]

    def writer(self, user: str, *, to: str | Iterable[str], rate: float = 10) -> Writer:
        """Start a writer and return it."""
        writer = Writer(
            Browser(self.stack.url, self.stack.certificate), [to] if isinstance(to, str) else to, rate
        )
        writer.browser.sign_in(user, self.stack.person(user))
        self.writers.append(writer)
        writer.start()
        return writer

    def browser(self, user: str) -> Browser:
        """The user's browser. It signs in once."""
        if user not in self._browsers:
            self._browsers[user] = self.stack.browser(user)
        return self._browsers[user]

    def online(self) -> None:
        """Reset every client's back-off after a fault, as browsers do when the network returns."""
        for page in self.pages:
            self._loop.call_soon_threadsafe(page.online)

    def call(self, page: Page, what: str, *arguments: object) -> None:
        """Call a page's method on its own loop: leave, switch, online."""
        self._loop.call_soon_threadsafe(getattr(page, what), *arguments)

    def arrived(self) -> int:
        """Number of updates that all clients received so far."""
        return sum(len(page.ledger.arrived) for page in self.pages)

    def delays(self, pages: Iterable[Page], begin: float, end: float) -> list[float]:
        """Delays in seconds between the response to a POST and its update's arrival at each client.

        Counts the POSTs whose responses came between `begin` and `end` (monotonic).
        """
        posted = {
            title: at
            for writer in self.writers
            for title, at in writer.answered.items()
            if begin <= at <= end
        }
        return [
            update.at - posted[update.payload["message_title"]]
            for page in pages
            for update in page.ledger.arrived
            if update.event == "new-message" and update.payload["message_title"] in posted
        ]

    def sent_away(self, page: Page, code: int, deadline: float) -> None:
        """Wait until the server closes this client with that code. The client is owed only what it received
        before.
        """
        wait_until(lambda: page.stopped_by, deadline, f"the end of {page.name}", every=0.02)
        assert page.stopped_by == code, f"{page.name}: {page.stopped_by}"
        page.ledger.left = True

    def caught_up(self) -> bool:
        """Whether every client that stayed is at the head of each of its streams."""
        heads = read_heads(self.stack)
        return all(
            position == heads.get(stream, position)
            for page in self.pages
            if not page.ledger.left and page.stopped_by is None
            for stream, position in dict(page.positions).items()
        )

    def verdict(self, *, deadline: float = 10, provoked: Provoked = lambda ledger, stream: False) -> Report:
        """Stop the writers, let clients catch up for at most `deadline` seconds, and judge. `.check()` prints
        the report.
        """
        self.__exit__(None, None, None)
        with contextlib.suppress(TimedOut):  # the report names the clients that are behind
            wait_until(self.caught_up, deadline, "clients at the heads", every=0.2)
        truth = read_truth(self.stack)
        self.close()
        ledgers = [page.ledger for page in self.pages]
        report = judge(truth, ledgers, published=published(self.before, truth), provoked=provoked)
        for writer in self.writers:
            for status, count in writer.answers.items():
                report.counts[f"POSTs answered {status}"] += count
        for page, task in self._tasks:
            if task.done() and not task.cancelled() and task.exception():
                report.violations.append(f"{page.name}: the client itself failed: {task.exception()!r}")
            if page.stopped_by is not None and not page.ledger.left:
                report.violations.append(f"{page.name}: told to stay away by {page.stopped_by}")
        return report

    def close(self) -> None:
        """End all clients."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
