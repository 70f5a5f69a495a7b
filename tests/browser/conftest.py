"""Fixtures of the tests in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.chromium import Windows
from harness.peer import MODULES, PAGE, STREAM, Peer
from harness.updates_page import UpdatesPage

Open = Callable[..., UpdatesPage]


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A server of the protocol that does what it is told, with three updates in its stream."""
    with Peer() as peer:
        peer.publish(3)
        yield peer


@pytest.fixture
def open_page(peer: Peer, windows: Windows) -> Open:
    """Opens a page of the peer's that runs updates.js, from the first update on."""

    def open_page(**options: Any) -> UpdatesPage:
        page = windows.window().new_page()
        page.goto(peer.url + PAGE)
        given = {"positions": {STREAM: "0-0"}, "pollSeconds": 2} | options
        return UpdatesPage(page, peer.url + MODULES + "updates.js", **given)

    return open_page
