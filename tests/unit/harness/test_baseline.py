"""A baseline detects leaks, and missing figures where none may be missing."""

from __future__ import annotations

from typing import Any, cast

import pytest

from harness.baseline import Baseline

BEFORE = {
    "asgi sockets": 8,
    "asgi memory": 100,
    "broker queues": 5,
    "broker bindings": 8,
    "database of wsgi": 10,
}
NO_STACK = cast(Any, None)


@pytest.mark.parametrize(
    ("now", "back"),
    [
        ({}, True),
        ({"asgi sockets": 14}, True),
        ({"asgi sockets": 15}, False),
        ({"asgi sockets": 0}, True),
        ({"asgi memory": 118}, True),
        ({"asgi memory": 119}, False),
        ({"broker queues": 6}, False),
        ({"broker queues": 4}, False),
        ({"broker bindings": 7}, False),
        ({"database of wsgi": 13}, True),
        ({"database of wsgi": 14}, False),
        ({"database of celery": 4}, False),
    ],
)
def test_what_counts_as_back(now: dict[str, int], back: bool) -> None:
    baseline = Baseline(NO_STACK, BEFORE)
    assert (not baseline.excess(BEFORE | now)) is back


def test_leaks_are_named() -> None:
    assert Baseline(NO_STACK, BEFORE).excess(BEFORE | {"broker queues": 6}) == {"broker queues": (5, 6)}
