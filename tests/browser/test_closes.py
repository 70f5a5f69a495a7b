"""The reaction of updates.js to each close code of the protocol's table, and to each status of a poll."""

from __future__ import annotations

import time

import pytest

from harness.chromium import Windows
from harness.peer import STREAM, Answer, Close, Peer
from harness.updates_page import UpdatesPage
from harness.waiting import wait_until

from .conftest import Open

SLACK = 2.0  # seconds that a busy machine may add to the first back-off of 0 to 0.5 s
# 1006 is a broken connection, 1005 a close frame without a code, 4999 an unknown code.
BACK_OFF = [1000, 1001, 1002, 1005, 1006, 1007, 1009, 1011, 1013, 4008, 4999]
FINAL = {4000: "stopped", 4001: "signed-out", 4003: "stopped", 4009: "signed-out"}


@pytest.fixture(params=["websocket", "sse"])
def page(request: pytest.FixtureRequest, peer: Peer, open_page: Open, windows: Windows) -> UpdatesPage:
    """A page that is live at update 3, by each transport with close codes."""
    windows.expect_complaints()
    if request.param == "sse":
        peer.rules["websocket"] = Answer(426)
    page = open_page(own_time=True).wait_for("live", transport=request.param)
    page.wait_for_numbers(3)
    return page


@pytest.mark.parametrize("code", BACK_OFF)
def test_it_comes_back_after_a_back_off_from_where_it_was(peer: Peer, page: UpdatesPage, code: int) -> None:
    position, transport = peer.head, page.transport
    began = time.monotonic()
    if code == 1006:
        peer.cut()
    else:
        peer.close(code)
    peer.publish(2)
    page.wait_for_numbers(5)
    assert (transport, code) in page.ended
    first = peer.attempts(str(transport), began)[0]
    assert first.since == f"{STREAM}/{position}"
    assert first.at - began <= 0.5 + SLACK
    page.wait_for("live")


@pytest.mark.parametrize("code", FINAL)
def test_it_does_not_reconnect_after_final_codes(peer: Peer, page: UpdatesPage, code: int) -> None:
    peer.close(code)
    page.wait_for(FINAL[code])
    told, asked = page.log("connection"), len(peer.asked)
    page.page.evaluate("dispatchEvent(new Event('online'))")
    page.page.clock.run_for(600_000)  # ten minutes, timer by timer
    assert page.log("connection") == told and page.state == FINAL[code]
    assert len(peer.asked) == asked and not peer.connections()
    peer.publish()
    page.page.evaluate("updates.reconnect()")
    page.wait_for("live")
    page.wait_for_numbers(4)


@pytest.mark.parametrize("code", FINAL)
def test_it_doesnt_try_another_way_around_a_refusal_in_place_of_hello(
    peer: Peer, open_page: Open, code: int
) -> None:
    peer.rules["websocket"] = Close(code)
    open_page().wait_for(FINAL[code])
    assert not peer.attempts("sse") and not peer.attempts("polling")


def test_after_1012_pages_come_back_spread_over_the_window(peer: Peer, open_page: Open) -> None:
    """With back-off, all six would reconnect within half a second. With a window of 8 s, that happens in 1 of
    100,000 runs.
    """
    peer.retry = 8000
    pages = [open_page().wait_for("live") for _ in range(6)]
    began = time.monotonic()
    peer.close(1012)
    wait_until(lambda: len(peer.attempts("websocket", began)) == 6, 8 + SLACK, "six attempts")
    assert peer.attempts("websocket", began)[-1].at - began > 1
    for page in pages:
        page.wait_for("live")
        assert page.ended == [("websocket", 1012)]


def test_after_4010_it_reconnects_at_once_and_reports_the_loss(peer: Peer, page: UpdatesPage) -> None:
    began = time.monotonic()
    peer.rewrite()
    peer.close(4010)
    wait_until(lambda: page.log("lost"), 10, "the page is told")
    assert page.log("lost")[0]["streams"] == [STREAM]
    assert peer.attempts(str(page.transport), began)[0].at - began <= SLACK
    page.wait_for("live")
    assert page.positions == {STREAM: peer.head}
    peer.publish()
    wait_until(lambda: page.numbers == [1, 2, 3, 4], 10, "it goes on after the head")


def test_it_reports_a_loss_at_most_once_a_minute(peer: Peer, open_page: Open) -> None:
    page = open_page(own_time=True).wait_for("live")
    for closes in range(1, 4):
        peer.rewrite()
        peer.close(4010)
        wait_until(lambda: len(page.ended) == closes, 10, "the close")  # noqa: B023
        page.wait_for("live")
    assert len(page.log("lost")) == 1
    page.pass_time(61)
    wait_until(lambda: len(page.log("lost")) == 2, 5, "the rest, at the end of the minute")


def test_after_4013_it_polls_and_stays_away_for_half_a_minute(peer: Peer, open_page: Open) -> None:
    peer.rules["websocket"] = Close(4013)
    page = open_page(own_time=True).wait_for("polling")
    assert page.diagnosis and page.diagnosis["code"] == "too-many-connections"
    peer.rules["websocket"] = "serve"
    peer.publish()
    page.wait_for_numbers(4)

    wait_until(lambda: page.passing("opening"), 30, "a second attempt")
    page.wait_for("live", transport="websocket")
    ((ended, again),) = zip(page.connection("ended"), page.connection("opening"), strict=True)
    assert 30_000 <= again["at"] - ended["at"] <= 33_000 and not peer.attempts("sse")


# ---- statuses


@pytest.mark.parametrize(
    ("status", "state"), [(400, "stopped"), (401, "signed-out"), (414, "stopped"), (503, "offline")]
)
def test_the_state_after_each_status_of_a_poll(
    peer: Peer, open_page: Open, windows: Windows, status: int, state: str
) -> None:
    windows.expect_complaints()
    peer.all_rules(Answer(502), "websocket", "sse")
    peer.rules["polling"] = Answer(status)
    open_page().wait_for(state)


def test_a_url_that_is_too_long_is_not_tried_again(peer: Peer, open_page: Open, windows: Windows) -> None:
    windows.expect_complaints()
    peer.all_rules(Answer(414), "websocket", "sse", "polling")
    open_page().wait_for("stopped")
    assert len(peer.attempts("websocket")) == len(peer.attempts("sse")) == 1


def test_a_poll_is_repeated_after_retry_after(peer: Peer, open_page: Open, windows: Windows) -> None:
    windows.expect_complaints()
    peer.all_rules(Answer(502), "websocket", "sse")
    peer.rules["polling"] = Answer(503, headers=(("Retry-After", "3"),))
    page = open_page(pollSeconds=60).wait_for("offline")
    peer.rules["polling"] = "serve"
    page.wait_for("polling")
    first, second = peer.attempts("polling")[:2]
    assert 3 <= second.at - first.at <= 3.5 + SLACK


def test_a_page_whose_poll_is_postponed_once_is_not_offline(
    peer: Peer, open_page: Open, windows: Windows
) -> None:
    """Too many pages poll at once. If it happens twice in a row, the page may be out of date."""
    windows.expect_complaints()
    peer.all_rules(Answer(502), "websocket", "sse")
    page = open_page(pollSeconds=1).wait_for("polling")
    peer.rules["polling"] = Answer(503, headers=(("Retry-After", "2"),))
    wait_until(lambda: ("polling", 1006) in page.ended, 10, "the first refusal")
    assert page.state == "polling"
    page.wait_for("offline", 10)
    peer.rules["polling"] = "serve"
    page.wait_for("polling", 10)


def test_a_poll_that_may_read_nothing_is_the_last(peer: Peer, open_page: Open, windows: Windows) -> None:
    windows.expect_complaints()
    peer.all_rules(Answer(502), "websocket", "sse")
    peer.denied.add(STREAM)
    open_page().wait_for("stopped")


def test_without_a_backend_it_reconnects_after_nginxs_retry_after(
    peer: Peer, open_page: Open, windows: Windows
) -> None:
    windows.expect_complaints()
    peer.all_rules(Answer(503, headers=(("Retry-After", "5"),)), "websocket", "sse", "health")
    page = open_page().wait_for("polling")
    wait_until(lambda: page.diagnosis, 10, "a diagnosis")
    assert page.diagnosis and page.diagnosis["code"] == "daphne-down"
    peer.all_rules("serve", "websocket", "sse", "health")
    page.wait_for("live", 10, transport="websocket")
    assert page.diagnosis is None
    first, second = peer.attempts("websocket")[:2]
    assert second.at - first.at >= 5


# ---- the delays themselves


def test_the_waits(open_page: Open) -> None:
    """Each row: the range of a delay in milliseconds, over a thousand draws."""
    drawn = open_page().page.evaluate(
        """async () => {
          const { Backoff, Retries } = await import("/static/sluice_updates/backoff.js");
          const draw = (make) => {
            const all = Array.from({ length: 1000 }, make);
            return [Math.min(...all), Math.max(...all)];
          };
          const nth = (n) => draw(() => {
            const backoff = new Backoff();
            for (let i = 0; i < n; i += 1) backoff.next();
            return backoff.next();
          });
          const after = (end, greeted = null, worn = 0) => draw(() => {
            const retries = new Retries();
            for (let i = 0; i < worn; i += 1) retries.after({ code: 1006 }, null);
            return retries.after(end, greeted);
          });
          return {
            first: nth(0), second: nth(1), sixth: nth(5), seventh: nth(6), tenth: nth(9),
            worn: after({ code: 1006 }, { held: 9_999, retry: 2000 }, 9),
            good: after({ code: 1006 }, { held: 10_000, retry: 2000 }, 9),
            restart: after({ code: 1012 }, { held: 1, retry: 6000 }, 9),
            refused_while_restarting: after({ code: 1012 }, null),
            past: after({ code: 4010 }, { held: 1, retry: 2000 }, 9),
            past_again: draw(() => {
              const retries = new Retries();
              retries.after({ code: 4010 }, null);
              return retries.after({ code: 4010 }, null);
            }),
            too_many: after({ code: 4013 }),
            too_fast: after({ code: 4013, status: 429, retryAfter: 40_000 }),
            nobody: after({ code: 1006, status: 503, retryAfter: 5000 }),
            nobody_silent: after({ code: 1006, status: 503 }),
            given_a_time: after({ code: 1013, retryAfter: 7000 }, null, 9),
          };
        }"""
    )
    expected = {
        "first": (0, 500),
        "second": (0, 1000),
        "sixth": (0, 10_000),
        "seventh": (0, 10_000),
        "tenth": (0, 10_000),
        "worn": (0, 10_000),
        "good": (0, 500),
        "restart": (0, 6000),
        "refused_while_restarting": (0, 500),
        "given_a_time": (7000, 7000),
        "past": (0, 0),
        "past_again": (0, 500),
        "too_many": (30_000, 30_500),
        "too_fast": (40_000, 40_500),
        "nobody": (5000, 5500),
        "nobody_silent": (30_000, 30_500),
    }
    assert set(drawn) == set(expected)
    for name, (least, most) in expected.items():
        low, high = drawn[name]
        spread = (most - least) / 10  # a thousand draws come closer to both ends
        assert least <= low <= least + spread and most - spread <= high <= most, (name, drawn[name])
