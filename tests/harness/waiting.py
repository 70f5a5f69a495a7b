"""Waiting for a condition with a deadline, which stops early when the condition can't come true any more. All
tests wait with it.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class TimedOut(AssertionError):
    """The condition did not come true before the deadline."""


class Hopeless(AssertionError):
    """The condition can no longer come true, for the reason that `fatal` returned."""


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

    `fatal` returns a sentence when waiting has become pointless (for example a container died), else None.
    Raises TimedOut, Hopeless, and the exceptions of `condition`.
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
