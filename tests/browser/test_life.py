"""A page's life: sleep and wake-up, the background, offline and online, the back/forward cache, other
tabs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness.chromium import Chromium, Windows
from harness.peer import MODULES, PAGE, STALL, STREAM, Answer, Peer
from harness.tabs import Tab, Tabs
from harness.updates_page import START, UpdatesPage
from harness.waiting import wait_until

from .conftest import Open

OPTIONS = {"positions": {STREAM: "0-0"}, "pollSeconds": 2}


def seconds_pass(seconds: float) -> None:
    """Wait for this long: elapsed time is what these tests need."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, seconds + 5, "time")


def test_updates_during_a_sleep_arrive_on_waking(peer: Peer, open_page: Open, chromium: Chromium) -> None:
    page = open_page().wait_for("live")
    with chromium.asleep():
        peer.publish(50)
        seconds_pass(5)
    page.wait_for_numbers(53)
    assert page.state == "live"


@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_a_connection_that_died_during_a_sleep_is_noticed_on_waking(
    peer: Peer, open_page: Open, chromium: Chromium, windows: Windows, transport: str
) -> None:
    """The page gets no notice: neither from the network, which dropped the connection, nor from the
    browser.
    """
    if transport == "sse":
        windows.expect_complaints()
        peer.rules["websocket"] = Answer(426)
    peer.ping = 2
    page = open_page().wait_for("live", transport=transport)
    with chromium.asleep():
        peer.mute()
        peer.publish(5)
        seconds_pass(14)  # longer than the allowed silence of 2 s + 10 s
    page.wait_for_numbers(8, 10)


def test_a_page_that_is_seen_again_tries_at_once(peer: Peer, open_page: Open, windows: Windows) -> None:
    windows.expect_complaints()
    peer.all_rules(Answer(502), "websocket", "sse", "polling")
    page = open_page().wait_for("offline")
    wait_until(lambda: len(peer.attempts("websocket")) >= 5, 60, "a back-off that has grown")
    peer.all_rules("serve", "websocket")
    began = time.monotonic()
    page.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for("live", 5)
    assert peer.attempts("websocket", began)[0].at - began < 1


# ---- the network


def test_offline_and_online(peer: Peer, open_page: Open, windows: Windows) -> None:
    windows.expect_complaints()
    page = open_page().wait_for("live")
    page.page.context.set_offline(True)
    peer.cut()
    page.wait_for("offline", 15)
    peer.publish(3)
    page.page.context.set_offline(False)
    page.wait_for("live", 5)
    page.wait_for_numbers(6)


def test_coming_online_a_connection_that_has_died_is_found_out_within_seconds(
    peer: Peer, open_page: Open
) -> None:
    page = open_page().wait_for("live")
    peer.mute()
    peer.publish(2)
    page.page.evaluate("dispatchEvent(new Event('online'))")
    page.wait_for_numbers(5, 8)  # 5 s for a response


def test_coming_online_a_connection_that_lives_is_kept(peer: Peer, open_page: Open) -> None:
    page = open_page().wait_for("live")
    page.page.evaluate("dispatchEvent(new Event('online'))")
    seconds_pass(6)
    assert not page.ended and len(peer.attempts("websocket")) == 1


# ---- tabs


@pytest.fixture
def tabs() -> Iterator[Tabs]:
    with Tabs() as tabs:
        yield tabs


def start(tab: Tab, peer: Peer, **options: Any) -> Tab:
    """Run updates.js in the tab, as UpdatesPage does, and wait until it is live."""
    tab.evaluate(START, [peer.url + MODULES + "updates.js", OPTIONS | options])
    wait_until(lambda: tab.evaluate("updates.state") == "live", 15, "live")
    return tab


def numbers(tab: Tab) -> list[int]:
    found: list[int] = tab.evaluate(
        "log.filter(({ kind }) => kind === 'update').map(({ update }) => update.payload.number)"
    )
    return found


def test_a_tab_in_the_background_is_as_current_as_one_in_view(peer: Peer, tabs: Tabs) -> None:
    tab = start(tabs.open(peer.url + PAGE), peer)
    tabs.open("about:blank")
    assert tab.evaluate("document.visibilityState") == "hidden"
    peer.publish(2)
    wait_until(lambda: numbers(tab) == [1, 2, 3, 4, 5], 5, "updates in the background")
    peer.cut()
    peer.publish(2)
    wait_until(lambda: numbers(tab) == list(range(1, 8)), 15, "back in the background")


def test_a_frozen_tab_goes_on_where_it_was(peer: Peer, tabs: Tabs) -> None:
    tab = start(tabs.open(peer.url + PAGE), peer)
    tabs.open("about:blank")
    tab.freeze()
    peer.publish(2)
    peer.cut()
    peer.publish(2)
    asked = len(peer.asked)
    seconds_pass(3)
    assert len(peer.asked) == asked, "a frozen page must not send requests"
    tab.thaw()
    tab.to_front()
    wait_until(lambda: numbers(tab) == list(range(1, 8)), 5, "what it missed")


def test_a_page_in_the_back_forward_cache_disconnects_and_continues_later(peer: Peer, tabs: Tabs) -> None:
    tab = start(tabs.open(peer.url + PAGE), peer)
    tab.evaluate("window.same = true")
    tab.go("about:blank")
    wait_until(lambda: peer.connections() == 0, 5, "the connection is closed")
    assert peer.closed_by_clients == [1000]
    peer.publish(2)
    tab.go_back()
    assert tab.evaluate("window.same") is True, "the browser reloaded the page"
    wait_until(lambda: numbers(tab) == [1, 2, 3, 4, 5], 5, "what it missed")
    assert tab.evaluate("updates.state") == "live"


def test_two_tabs_are_two_clients(peer: Peer, windows: Windows) -> None:
    window = windows.window()
    pages = []
    for first in ("0-0", peer.head):
        tab = window.new_page()
        tab.goto(peer.url + PAGE)
        page = UpdatesPage(tab, peer.url + MODULES + "updates.js", positions={STREAM: first})
        pages.append(page.wait_for("live"))
    peer.publish(2)
    pages[0].wait_for_numbers(5)
    pages[1].wait_for_numbers(5)
    assert pages[0].numbers == [1, 2, 3, 4, 5] and pages[1].numbers == [4, 5]
    pages[0].page.close()
    wait_until(lambda: peer.connections() == 1, 5, "one has left")
    peer.publish()
    pages[1].wait_for_numbers(6)
    assert pages[1].states == ["live"]


def test_event_streams_leave_room_for_pages_to_load(peer: Peer, windows: Windows) -> None:
    """A browser opens six connections per host. Of seven tabs without WebSockets, four hold one."""
    windows.expect_complaints()
    peer.rules["websocket"] = Answer(426)
    window = windows.window()
    pages = []
    for _ in range(7):
        tab = window.new_page()
        tab.goto(peer.url + PAGE, timeout=10_000)
        pages.append(UpdatesPage(tab, peer.url + MODULES + "updates.js", **OPTIONS))
        wait_until(lambda: pages[-1].state in ("live", "polling"), 15, "live or polling")
    assert [page.transport for page in pages] == ["sse"] * 4 + ["polling"] * 3
    peer.publish(2)
    for page in pages:
        page.wait_for_numbers(5)
    pages[0].page.close()
    wait_until(lambda: peer.connections("sse") == 4, 30, "another tab takes the place")


def test_a_server_that_does_not_answer_is_given_up(peer: Peer, open_page: Open, windows: Windows) -> None:
    """A WebSocket has reached this server, so the second attempt is by WebSocket too."""
    windows.expect_complaints()
    page = open_page(own_time=True).wait_for("live")
    peer.all_rules(STALL, "websocket", "sse")
    began = time.monotonic()
    peer.cut()
    for attempts in (1, 2):
        wait_until(lambda: len(peer.attempts("websocket", began)) == attempts, 10, "an attempt")  # noqa: B023
        page.pass_time(10)
    page.wait_for("polling")
    peer.all_rules("serve", "websocket", "sse")
    peer.publish()
    page.wait_for("live", 25)
    page.wait_for_numbers(4)
