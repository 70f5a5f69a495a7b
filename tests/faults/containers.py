"""Calls functions of inside.py in containers. Also a crowd of users who sign in that way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.checker import Checker
from harness.client.page import TRANSPORTS
from harness.site import Browser
from harness.stack import Stack
from harness.truth import read_heads
from harness.waiting import wait_until

SOURCE = (Path(__file__).parent / "inside.py").read_text()
WRITERS_EACH = 4


def call(stack: Stack, service: str, function: str, *arguments: object) -> Any:
    """Call a function of inside.py in the service's first container, and return the last value that it
    printed.
    """
    text = f"{SOURCE}\n{function}(*{list(arguments)!r})\n"
    return json.loads(stack.manage(text, service).strip().splitlines()[-1])


class Crowd(Checker):
    """A checker with many users, created and signed in at once, without passwords."""

    def __init__(self, stack: Stack, names: Sequence[str]) -> None:
        super().__init__(stack)
        made = call(stack, "wsgi", "sign_in", *names)
        self.ids: dict[str, int] = {}
        for name, (pk, session) in made["people"].items():
            browser = Browser(stack.url)
            browser.name = name
            browser.http.cookies.set(made["cookie"], session)
            self.ids[name] = pk
            self._browsers[name] = browser

    def __enter__(self) -> Crowd:
        return self

    def gather(self, count: int, *, poll_every: float) -> None:
        """Add `count` clients, spread evenly over users and transports."""
        names = list(self.ids)
        for number in range(count):
            transport = TRANSPORTS[number % len(TRANSPORTS)]
            page = self.client(names[number // len(TRANSPORTS) % len(names)], transport)
            page.poll_every = poll_every


class Writers:
    """Writers inside the containers of several services. They write to the users with the ids `users`."""

    def __init__(self, stack: Stack, services: Sequence[str], users: Sequence[int]) -> None:
        self.stack = stack
        self.services = services
        self.users = list(users)
        self._before = self._heads()
        self._pool = ThreadPoolExecutor(len(services))
        self._ends: list[Future[Any]] = []

    def start(self, updates: int, *, pause: float) -> None:
        """Start to commit `updates` updates in all. Each writer pauses for `pause` seconds after each of its
        own.
        """
        for service in self.services:
            names = [f"{service} {number}" for number in range(WRITERS_EACH)]
            each = -(-updates // (len(self.services) * WRITERS_EACH))
            arguments = (self.stack, service, "write", names, self.users, each, pause)
            self._ends.append(self._pool.submit(call, *arguments))

    def wait_for(self, published: int, deadline: float) -> None:
        """Wait until the table contains that many updates."""
        wait_until(
            lambda: self._heads() - self._before >= published,
            deadline,
            f"{published} updates in the table",
            fatal=lambda: next((f"writers ended: {_fate(end)}" for end in self._ends if end.done()), None),
            every=1,
        )

    def finish(self, deadline: float) -> dict[str, int]:
        """Wait for the writers' end. Return how many updates were certainly committed, and how many
        possibly.
        """
        tallies = [end.result(deadline) for end in self._ends]
        return {what: sum(tally[what] for tally in tallies) for what in tallies[0]}

    def _heads(self) -> int:
        return sum(head.offset for head in read_heads(self.stack).values())


def _fate(end: Future[Any]) -> str:
    return str(end.exception() or end.result())
