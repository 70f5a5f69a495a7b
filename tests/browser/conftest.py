"""Fixtures of the browser tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness.chromium import Windows
from harness.meddler import Meddler
from harness.peer import MODULES, PAGE, STREAM, Peer
from harness.stack import Stack
from harness.updates_page import UpdatesPage
from harness.waiting import wait_until

from .desk import Desk

Open = Callable[..., UpdatesPage]

POLL_SECONDS = 2
MAX_CONNECTIONS = 8  # per user


@pytest.fixture
def peer() -> Iterator[Peer]:
    """A server of the protocol under the test's control, with three updates in its stream."""
    with Peer() as peer:
        peer.publish(3)
        yield peer


@pytest.fixture
def open_page(peer: Peer, windows: Windows) -> Open:
    """Opens a page of the peer that runs updates.js, starting before the first update.

    `own_time`: the page's clock runs on its own, and UpdatesPage.pass_time puts it forward.
    """

    def open_page(*, own_time: bool = False, **options: Any) -> UpdatesPage:
        page = windows.window().new_page()
        if own_time:
            page.clock.install()
        page.goto(peer.url + PAGE)
        given = {"positions": {STREAM: "0-0"}, "pollSeconds": 2} | options
        return UpdatesPage(page, peer.url + MODULES + "updates.js", **given)

    return open_page


@pytest.fixture(scope="session")
def breakable(image_tag: str) -> Iterator[Stack]:
    """A stack for tests that break things and repair them. Its pages poll often, and a user may open only a
    few.
    """
    settings = {"POLL_SECONDS": POLL_SECONDS, "UPDATES_MAX_CONNECTIONS_PER_USER": MAX_CONNECTIONS}
    with Stack(image_tag, {name: str(value) for name, value in settings.items()}) as stack:
        yield stack


@pytest.fixture
def desk(breakable: Stack, windows: Windows) -> Iterator[Desk]:
    """A desk at the breakable stack, repaired after the previous test."""
    breakable.mend()
    with Meddler(breakable.port) as meddler:
        yield Desk(breakable, windows, meddler)


def lose_patience(page: UpdatesPage, peer: Peer, *transports: str, since: float = 0) -> None:
    """Wait, in the page's own time, until the page gives up waiting for hello, on each transport in turn.

    `since`: only attempts after this time count (time.monotonic).
    """
    for transport in transports:
        wait_until(lambda: peer.attempts(transport, since), 10, f"an attempt by {transport}")  # noqa: B023
        page.pass_time(5)
