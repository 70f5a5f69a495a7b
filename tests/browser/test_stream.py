"""Updates in order: duplicates, gaps, failing handlers, changed rights."""

from __future__ import annotations

import pytest

from harness.chromium import Windows
from harness.peer import STREAM, Answer, Peer
from harness.updates_page import UpdatesPage
from harness.waiting import wait_until

from .conftest import Open


@pytest.fixture(params=["websocket", "sse"])
def page(request: pytest.FixtureRequest, peer: Peer, open_page: Open, windows: Windows) -> UpdatesPage:
    """A page that is live at update 3."""
    if request.param == "sse":
        windows.expect_complaints()
        peer.rules["websocket"] = Answer(426)
    page = open_page().wait_for("live", transport=request.param)
    page.wait_for_numbers(3)
    return page


def ends(page: UpdatesPage) -> list[int]:
    """Close codes of connections of the page's transport, without the attempts at a better one."""
    return [code for transport, code in page.ended if transport == page.transport]


def test_a_double_is_dropped(peer: Peer, page: UpdatesPage) -> None:
    peer.repeat()
    peer.publish()
    page.wait_for_numbers(4)
    assert not ends(page)


def test_after_a_gap_it_applies_nothing_more_and_fetches_what_is_missing(
    peer: Peer, page: UpdatesPage
) -> None:
    peer.publish(leave_out=True)
    peer.publish(2)
    page.wait_for_numbers(6)
    assert ends(page) == [1006]
    assert (
        peer.attempts(str(page.transport))[-1].since
        == f"{STREAM}/{page.log('update')[2]['update']['position']}"
    )


def test_what_is_not_json_ends_the_connection(peer: Peer, page: UpdatesPage) -> None:
    peer.say("<html>no frame</html>")
    wait_until(lambda: ends(page) == [1006], 5, "the end")
    peer.publish()
    page.wait_for_numbers(4)


def test_events_that_it_does_not_know_are_passed_over(peer: Peer, page: UpdatesPage) -> None:
    peer.say('{"event": "weather", "payload": {"stream": "x"}, "more": 1}')
    peer.say('{"event": "error", "payload": {"code": "x", "detail": "y"}}')
    peer.publish()
    page.wait_for_numbers(4)
    assert not ends(page)


def test_a_handler_that_throws_stops_neither_the_others_nor_the_position(
    peer: Peer, page: UpdatesPage, windows: Windows
) -> None:
    windows.expect_complaints("a handler of the test's")
    page.page.evaluate(
        """() => {
          updates.on("numbered", () => { throw new Error("a handler of the test's"); });
          window.others = 0;
          updates.on("numbered", () => { window.others += 1; });
        }"""
    )
    peer.publish(2)
    page.wait_for_numbers(5)
    assert page.page.evaluate("others") == 2
    assert page.positions == {STREAM: peer.head} and not ends(page)


def test_handlers_are_by_event_and_can_be_taken_back(peer: Peer, page: UpdatesPage) -> None:
    page.page.evaluate(
        """() => {
          window.seen = [];
          window.end = updates.on("greeting", (payload, update) => seen.push([payload, update.event]));
        }"""
    )
    peer.publish()
    peer.publish(event="greeting")
    page.wait_for_numbers(5)
    page.page.evaluate("end()")
    peer.publish(event="greeting")
    page.wait_for_numbers(6)
    assert page.page.evaluate("seen") == [[{"number": 5}, "greeting"]]


def test_after_a_change_of_rights_a_new_connection_takes_over(peer: Peer, page: UpdatesPage) -> None:
    """The old connection stays until the new one's hello: the state does not change, and no update arrives
    twice.
    """
    before, states = len(peer.attempts(str(page.transport))), page.states
    peer.publish(event="streams-changed")
    wait_until(lambda: len(peer.attempts(str(page.transport))) == before + 1, 10, "a second connection")
    wait_until(lambda: peer.connections() == 1, 10, "the first one is closed")
    peer.publish()
    page.wait_for_numbers(5)
    assert page.states == states and not ends(page)


def test_a_stream_that_may_not_be_read_keeps_its_position(peer: Peer, page: UpdatesPage) -> None:
    peer.denied.add(STREAM)
    peer.cut()
    wait_until(lambda: page.page.evaluate("updates.denied") == [STREAM], 10, "it is denied")
    peer.denied.clear()
    peer.cut()
    peer.publish(2)
    page.wait_for_numbers(5)
    assert not page.log("lost")


def test_trimmed_history_is_reported_lost(peer: Peer, open_page: Open) -> None:
    peer.trim()
    page = open_page().wait_for("live")
    assert page.log("lost")[0]["streams"] == [STREAM]
    assert page.positions == {STREAM: peer.head} and not page.numbers


def test_without_positions_it_begins_at_the_head(peer: Peer, open_page: Open) -> None:
    page = open_page(positions={}, streams=[STREAM]).wait_for("live")
    assert page.positions == {STREAM: peer.head}
    peer.publish()
    page.wait_for_numbers(4)


def test_a_poll_that_lost_something_reports_it(peer: Peer, open_page: Open, windows: Windows) -> None:
    windows.expect_complaints()
    peer.all_rules(Answer(502), "websocket", "sse")
    peer.trim()
    page = open_page().wait_for("polling")
    wait_until(lambda: page.log("lost"), 5, "the page is told")
    peer.publish()
    page.wait_for_numbers(4)
