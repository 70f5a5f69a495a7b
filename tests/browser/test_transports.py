"""Which transport updates.js uses, and how it changes between them without losses or duplicates."""

from __future__ import annotations

import time

import pytest

from harness.chromium import Windows
from harness.peer import CUT, HOLD, SERVE, STALL, SWALLOW, Answer, Close, Peer, Rule
from harness.waiting import wait_until

from .conftest import Open, lose_patience

GONE = Answer(404, "<h1>Not found</h1>", "text/html")
TRANSPORTS = ("websocket", "sse", "polling")
# Ways in which a WebSocket or an event stream can fail.
SILENT: list[Rule] = [SWALLOW, STALL]
REFUSALS: list[Rule] = [Answer(426), Answer(502), CUT, *SILENT, Close(1000)]


@pytest.fixture(params=REFUSALS, ids=str)
def refusal(request: pytest.FixtureRequest, windows: Windows) -> Rule:
    windows.expect_complaints()
    rule: Rule = request.param
    return rule


def test_it_tries_a_websocket_first(peer: Peer, open_page: Open) -> None:
    page = open_page().wait_for("live", transport="websocket")
    peer.publish(2)
    page.wait_for_numbers(5)
    assert page.states == ["live"] and page.diagnosis is None
    assert not peer.attempts("sse") and not peer.attempts("polling")


@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_it_waits_for_its_turn(peer: Peer, open_page: Open, windows: Windows, transport: str) -> None:
    """When many clients come at once, the server accepts within 9 s. Giving up makes the line longer."""
    if transport == "sse":
        windows.expect_complaints()
        peer.rules["websocket"] = Answer(426)
    peer.rules[transport] = HOLD
    page = open_page(own_time=True)
    wait_until(lambda: peer.attempts(transport), 10, "the attempt")
    page.pass_time(9)
    peer.release()
    page.wait_for("live", transport=transport)
    assert len(peer.attempts(transport)) == 1
    assert not peer.attempts("polling")


@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_it_comes_back_at_the_time_that_the_server_gives_it(
    peer: Peer, open_page: Open, windows: Windows, transport: str
) -> None:
    windows.expect_complaints()
    if transport == "sse":
        peer.rules["websocket"] = Answer(426)
    peer.rules[transport] = Close(1013, retry=7000)
    page = open_page(own_time=True)
    wait_until(lambda: (transport, 1013) in page.ended, 10, "the close")
    peer.all_rules(SERVE, "websocket", "sse")
    page.pass_time(6)
    assert len(peer.attempts(transport)) == 1
    page.pass_time(1.5)
    page.wait_for("live", transport="websocket")


def test_the_pages_of_a_large_site_spread_their_first_polls(
    peer: Peer, open_page: Open, windows: Windows
) -> None:
    windows.expect_complaints()
    peer.retry = 8000  # of 4,000 connections
    page = open_page(own_time=True, pollSeconds=60).wait_for("live")
    page.page.evaluate("Math.random = () => 0.5")
    peer.all_rules(Answer(502), "websocket", "sse")
    peer.cut()
    for failures in range(3):
        wait_until(lambda: len(page.ended) > failures, 10, "the cut, then two failures")  # noqa: B023
        page.pass_time(1)
    page.pass_time(9)
    assert not peer.attempts("polling")
    page.pass_time(2)  # half of 4 × (8,000 − 2,000) ms
    wait_until(lambda: peer.attempts("polling"), 10, "the first poll")


def test_without_a_websocket_it_takes_server_sent_events(peer: Peer, open_page: Open, refusal: Rule) -> None:
    peer.rules["websocket"] = refusal
    page = open_page(own_time=True)
    if refusal in SILENT:
        lose_patience(page, peer, "websocket")
    page.wait_for("live", transport="sse")
    peer.publish(2)
    page.wait_for_numbers(5)
    assert page.states == ["live"] and not peer.attempts("polling")


def test_without_either_it_polls(peer: Peer, open_page: Open, refusal: Rule) -> None:
    peer.all_rules(refusal, "websocket", "sse")
    page = open_page(own_time=True)
    if refusal in SILENT:
        lose_patience(page, peer, "websocket", "sse")
    page.wait_for("polling", transport="polling")
    peer.publish(2)
    page.wait_for_numbers(5)
    assert page.states == ["polling"]


@pytest.mark.parametrize("worked", ["hello", "1013"])
def test_once_a_websocket_has_worked_it_tries_no_event_stream(
    peer: Peer, open_page: Open, windows: Windows, worked: str
) -> None:
    """When all pages come back at once, the server gets one request from each."""
    windows.expect_complaints()
    if worked == "hello":
        page = open_page().wait_for("live")
    else:
        peer.rules["websocket"] = Close(1013)
        page = open_page().wait_for("polling")
        wait_until(lambda: len(peer.attempts("websocket")) >= 2, 10, "another attempt")
    peer.all_rules(Answer(502), "websocket", "health")
    peer.cut()
    before = len(peer.attempts("websocket"))
    wait_until(lambda: len(peer.attempts("websocket")) >= before + 4, 30, "four attempts")
    page.wait_for("polling")
    peer.publish()
    page.wait_for_numbers(4)
    assert not peer.attempts("sse")
    peer.all_rules(SERVE, "websocket", "health")
    page.wait_for("live", 15, transport="websocket")
    assert not peer.attempts("sse")


@pytest.mark.parametrize("refused", [Answer(426), SWALLOW], ids=["refuses", "holds back"])
def test_on_a_network_that_prevents_websockets_it_takes_an_event_stream(
    peer: Peer, open_page: Open, windows: Windows, refused: Rule
) -> None:
    """A page that had a WebSocket moves to such a network."""
    windows.expect_complaints()
    page = open_page(own_time=True).wait_for("live", transport="websocket")
    peer.rules["websocket"] = refused
    began = time.monotonic()
    peer.cut()
    peer.publish(2)
    if refused == SWALLOW:
        for count in (1, 2):
            wait_until(lambda: len(peer.attempts("websocket", began)) == count, 10, "an attempt")  # noqa: B023
            page.pass_time(5)
    page.wait_for("live", transport="sse")
    page.wait_for_numbers(5)
    assert page.diagnosis and len(peer.attempts("websocket", began)) <= 3


def test_each_attempt_waits_for_the_back_off(peer: Peer, open_page: Open, windows: Windows) -> None:
    windows.expect_complaints()
    peer.rules["websocket"] = Answer(426)
    page = open_page().wait_for("live", transport="sse")
    page.page.evaluate("Math.random = () => 0.9")
    peer.all_rules(Answer(502), "websocket", "sse")
    before = len(page.connection("opening"))
    peer.cut()
    wait_until(lambda: len(page.connection("opening")) >= before + 4, 20, "four attempts")
    attempts = page.connection("opening")[before : before + 4]
    assert [attempt["transport"] for attempt in attempts] == ["sse", "websocket", "sse", "websocket"]
    for limit, attempt, following in zip((1000, 2000, 4000), attempts, attempts[1:], strict=False):
        assert following["at"] - attempt["at"] >= 0.9 * limit


def test_an_address_with_too_many_connections_stays_away(
    peer: Peer, open_page: Open, windows: Windows
) -> None:
    """nginx's 429. A WebSocket's script can't see it, the diagnosis can."""
    windows.expect_complaints()
    page = open_page(own_time=True).wait_for("live")
    peer.all_rules(Answer(429), "websocket", "health")
    peer.cut()
    wait_until(lambda: page.diagnosis, 15, "a diagnosis")
    assert page.diagnosis and page.diagnosis["code"] == "too-many-from-address"
    page.pass_time(2)  # an attempt that was due before
    wait_until(lambda: len(page.ended) >= 4, 10, "its end")
    peer.all_rules(SERVE, "websocket", "health")
    attempts = len(peer.attempts("websocket"))
    page.pass_time(25)
    assert len(peer.attempts("websocket")) == attempts and not peer.attempts("sse")
    page.pass_time(6)
    page.wait_for("live", transport="websocket")


@pytest.mark.parametrize("worse", ["sse", "polling"])
def test_it_returns_to_the_better_transport_and_loses_nothing(
    peer: Peer, open_page: Open, windows: Windows, worse: str
) -> None:
    windows.expect_complaints()
    peer.all_rules(Answer(502), *TRANSPORTS[: TRANSPORTS.index(worse)])
    page = open_page().wait_for("live" if worse == "sse" else "polling", transport=worse)
    peer.publish(5)
    peer.rules = dict.fromkeys(peer.rules, SERVE)

    def is_best_again() -> bool:
        peer.publish()  # updates arrive all the time
        return page.transport == "websocket"

    wait_until(is_best_again, 30, "a WebSocket again", every=0.02)
    peer.publish(5)
    page.wait_for("live")
    page.wait_for_numbers(int(peer.head.split("-")[0]))
    wait_until(lambda: peer.connections() == 1, 5, "the worse one is closed")


def test_fifty_changes_of_transport_lose_and_double_nothing(
    peer: Peer, open_page: Open, windows: Windows
) -> None:
    windows.expect_complaints()
    page = open_page(pollSeconds=1)
    for change in range(50):
        best = TRANSPORTS[change % 3]
        peer.all_rules(SERVE, *TRANSPORTS)
        peer.all_rules(Answer(502), *TRANSPORTS[: TRANSPORTS.index(best)])
        peer.cut()
        # resets the back-off, which would make this test long
        page.page.evaluate("dispatchEvent(new Event('online'))")
        peer.publish(3)
        page.wait_for("polling" if best == "polling" else "live", 20, transport=best)
        peer.publish(3)
    page.wait_for_numbers(3 + 50 * 6)


def test_without_daphne_it_tries_each_transport_at_most_once_per_poll(
    peer: Peer, open_page: Open, windows: Windows
) -> None:
    windows.expect_complaints()
    peer.all_rules(GONE, "websocket", "sse", "health", "plain")
    began = time.monotonic()
    page = open_page(pollSeconds=4).wait_for("polling")
    assert page.diagnosis is None or page.diagnosis["code"] == "not-daphne"
    peer.publish()
    page.wait_for_numbers(4)
    wait_until(lambda: len(peer.attempts("polling")) >= 3, 15, "three polls")
    allowed = 2 + (time.monotonic() - began) / 4
    assert 2 <= len(peer.attempts("sse")) <= allowed
    assert 2 <= len(peer.attempts("websocket")) <= allowed


def test_a_silent_connection_is_given_up(peer: Peer, open_page: Open) -> None:
    page = open_page(own_time=True).wait_for("live")
    page.wait_for_numbers(3)
    peer.mute()
    (end,) = wait_until(lambda: page.passing("ended"), 30, "the end of it")
    # The ping interval of 25 s plus 10 s. updates.js checks every 5 s.
    assert 35_000 <= end["at"] - page.log("update")[-1]["at"] <= 43_000
    peer.publish()
    page.wait_for_numbers(4)


def test_pings_keep_a_quiet_connection(peer: Peer, open_page: Open) -> None:
    peer.ping = 1
    page = open_page().wait_for("live")
    began = time.monotonic()
    # Without pings, updates.js would give up after 1 s + 10 s. It checks every 5 s.
    wait_until(lambda: time.monotonic() - began > 17 or page.ended, 30, "17 quiet seconds")
    assert not page.ended and len(peer.attempts("websocket")) == 1
