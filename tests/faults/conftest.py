"""Fixtures that the fault suite shares."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.stack import Stack


@pytest.fixture
def pair(image_tag: str) -> Iterator[Stack]:
    """A stack of the test's own, with two Daphnes."""
    with Stack(image_tag) as stack:
        stack.up("asgi", scale={"asgi": 2}, options=("--no-recreate", "--no-deps"))
        yield stack
