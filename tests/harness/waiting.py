"""The one way to wait: for a condition, until a deadline, and no longer than it can still come true."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class TimedOut(AssertionError):
    """The condition did not come true before the deadline."""


class Hopeless(AssertionError):
    """The condition can no longer come true: `fatal` said why."""


def wait_until(
    condition: Callable[[], T],
    deadline: float,
    what: str,
    *,
    fatal: Callable[[], str | None] = lambda: None,
    every: float = 0.1,
) -> T:
    """Return the first true value of `condition`, which is called every `every` seconds for at most
    `deadline` seconds.

    `fatal` returns a sentence once waiting is pointless (a container has died), else None. Raises TimedOut,
    Hopeless, and whatever `condition` raises.
    """
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if reason := fatal():
            raise Hopeless(f"waiting for {what}: {reason}")
        if time.monotonic() >= end:
            raise TimedOut(f"{what}: not within {deadline:g} s (last seen: {value!r})")
        time.sleep(every)


async def until(condition: Callable[[], T], deadline: float, what: str, *, every: float = 0.02) -> T:
    """`wait_until` for a running event loop."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise TimedOut(f"{what}: not within {deadline:g} s (last seen: {value!r})")
        await asyncio.sleep(every)
