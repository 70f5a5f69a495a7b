"""`getState` of updates.js: after a loss, a page fetches its state and continues from there."""

from __future__ import annotations

import time
from typing import Any

import pytest

from harness.chromium import Windows
from harness.peer import HOLD, MODULES, PAGE, SERVE, STALL, STATE, STREAM, Answer, Peer
from harness.tabs import Tabs
from harness.updates_page import START, UpdatesPage
from harness.waiting import wait_until

from .conftest import Open


class Shown:
    """What a page shows that puts its state together from `restored` and later updates."""

    def __init__(self, page: UpdatesPage) -> None:
        self.page = page

    @property
    def restored(self) -> list[dict[str, Any]]:
        return self.page.log("restored")

    @property
    def numbers(self) -> list[int]:
        found: list[int] = self.page.page.evaluate(
            """log.reduce((shown, { kind, data, update }) => {
              if (kind === "restored" && data) return data.numbers;
              return kind === "update" ? [...shown, update.payload.number] : shown;
            }, [])"""
        )
        return found

    def wait_for(self, last: int, deadline: float = 10) -> None:
        """Wait for the update `last`, then assert that the page shows each update once, in order."""
        wait_until(lambda: self.numbers[-1:] == [last], deadline, f"update {last}")
        assert self.numbers == list(range(1, last + 1))

    def wait_until_restored(self, times: int = 1, deadline: float = 10) -> None:
        wait_until(lambda: len(self.restored) >= times, deadline, "the state")
        assert len(self.restored) == times


def lose(peer: Peer) -> None:
    """Let the page's position be one of another past."""
    peer.rewrite()
    peer.close(4010)


@pytest.fixture
def page(open_page: Open) -> UpdatesPage:
    """A page that is live at update 3, and fetches its state from the peer."""
    page = open_page(getState=STATE, own_time=True).wait_for("live")
    page.wait_for_numbers(3)
    return page


@pytest.mark.parametrize("transport", ["websocket", "sse", "polling"])
def test_it_fetches_the_state_and_continues(
    peer: Peer, open_page: Open, windows: Windows, transport: str
) -> None:
    windows.expect_complaints()
    worse = ["websocket", "sse"][: ["websocket", "sse", "polling"].index(transport)]
    peer.all_rules(Answer(426), *worse)
    page = open_page(getState=STATE, pollSeconds=1)
    page.wait_for("polling" if transport == "polling" else "live", transport=transport)
    page.wait_for_numbers(3)
    shown, opened = Shown(page), len(page.connection("opening"))
    lose(peer)
    shown.wait_until_restored()
    assert shown.restored[0]["streams"] == [STREAM]
    assert page.positions == {STREAM: peer.head}
    peer.publish(2)
    shown.wait_for(5)
    page.wait_for("polling" if transport == "polling" else "live")
    assert not page.log("lost") and len(peer.attempts("state")) == 1
    if transport == "websocket":  # the state was at the connection's position: no other one was needed
        assert len(page.connection("opening")) == opened + 1


def test_updates_that_come_meanwhile_follow_the_state_once(peer: Peer, page: UpdatesPage) -> None:
    """The server reads the state at update 3. Updates 4 and 5 arrive before its response."""
    shown = Shown(page)
    peer.rules["state"] = HOLD
    lose(peer)
    wait_until(lambda: peer.attempts("state"), 5, "the request for the state")
    old = peer.head
    began = time.monotonic()
    peer.publish(2)
    wait_until(lambda: page.positions == {STREAM: peer.head}, 5, "the updates")
    assert page.numbers == [1, 2, 3], "handlers must wait for the state"
    assert page.state == "catching-up"
    peer.release()
    shown.wait_for(5)
    page.wait_for("live")
    assert [asked.since for asked in peer.attempts("websocket", began)] == [f"{STREAM}/{old}"]
    peer.publish()
    shown.wait_for(6)


def test_a_state_that_is_ahead_of_the_connection(peer: Peer, page: UpdatesPage) -> None:
    """The connection has not brought updates 4 and 5, which the state has."""
    shown = Shown(page)
    peer.rules["state"] = STALL
    lose(peer)
    wait_until(lambda: peer.attempts("state"), 5, "the request for the state")
    peer.publish(2, leave_out=True)
    peer.rules["state"] = SERVE
    began = time.monotonic()
    page.pass_time(31)
    shown.wait_until_restored()
    assert shown.numbers == [1, 2, 3, 4, 5]
    wait_until(lambda: peer.attempts("websocket", began), 5, "a connection that judges the position")
    assert peer.attempts("websocket", began)[0].since == f"{STREAM}/{peer.head}"
    peer.publish()
    shown.wait_for(6)


def test_a_second_loss_while_it_fetches(peer: Peer, page: UpdatesPage) -> None:
    """The state that is on its way is from before the second loss, so it must not be shown."""
    shown = Shown(page)
    peer.rules["state"] = HOLD
    lose(peer)
    wait_until(lambda: len(peer.attempts("state")) == 1, 5, "the first request")
    peer.rules["state"] = SERVE
    lose(peer)
    wait_until(lambda: len(page.passing("hello")) == 3, 10, "the hello with the second loss")
    peer.release()
    wait_until(lambda: page.passing("hello") and shown.restored, 10, "the state")
    peer.publish(2)
    shown.wait_for(5)
    assert len(shown.restored) == 1 and len(peer.attempts("state")) == 2
    assert page.positions == {STREAM: peer.head}


def test_a_state_from_another_past_is_lost_again_and_fetched_once_a_minute(
    peer: Peer, page: UpdatesPage
) -> None:
    """The web server reads another database than Daphne, or one that lags behind."""
    stale = f'{{"positions": {{"{STREAM}": "2-ffffffffffffffff"}}, "numbers": [1, 2]}}'
    peer.rules["state"] = Answer(200, stale, "application/json")
    shown = Shown(page)
    lose(peer)
    shown.wait_until_restored()
    wait_until(lambda: page.state == "catching-up" and page.positions == {STREAM: peer.head}, 5, "the loss")
    page.pass_time(50)
    page.wait_for("catching-up")
    assert len(peer.attempts("state")) == 1
    peer.rules["state"] = SERVE
    page.pass_time(11)
    shown.wait_until_restored(2)
    page.wait_for("live")
    peer.publish(2)
    shown.wait_for(5)


# ---- failures


NO_STATE = [
    Answer(500),
    Answer(302, headers=(("Location", PAGE),)),
    Answer(200, "<p>Sign in", "text/html"),
    Answer(200, "{}", "application/json"),
    Answer(200, '{"positions": {"all": "0-0"}}', "application/json"),
    Answer(200, f'{{"positions": {{"{STREAM}": "three"}}}}', "application/json"),
]


@pytest.mark.parametrize("answer", NO_STATE, ids=lambda answer: f"{answer.status} {answer.body}")
def test_it_tries_again_until_there_is_a_state(
    peer: Peer, page: UpdatesPage, windows: Windows, answer: Answer
) -> None:
    windows.expect_complaints()
    shown = Shown(page)
    peer.rules["state"] = answer
    lose(peer)
    wait_until(lambda: page.passing("ended") and len(peer.attempts("state")) >= 3, 20, "three requests")
    page.wait_for("catching-up")
    peer.publish(2)
    peer.rules["state"] = SERVE
    wait_until(lambda: page.passing("ended") and shown.restored, 20, "the state")
    shown.wait_for(5)
    page.wait_for("live")


def test_a_server_that_does_not_answer(peer: Peer, page: UpdatesPage, windows: Windows) -> None:
    windows.expect_complaints()
    shown = Shown(page)
    peer.rules["state"] = STALL
    lose(peer)
    wait_until(lambda: peer.attempts("state"), 5, "the request")
    page.pass_time(29)
    assert len(peer.attempts("state")) == 1
    peer.rules["state"] = SERVE
    page.pass_time(1)
    wait_until(lambda: page.passing("ended") and shown.restored, 10, "the state")


def test_after_a_minute_of_failures_the_page_is_told(peer: Peer, page: UpdatesPage, windows: Windows) -> None:
    windows.expect_complaints()
    shown = Shown(page)
    peer.rules["state"] = Answer(500)
    lose(peer)
    wait_until(lambda: peer.attempts("state"), 5, "the request")
    for _ in range(5):
        page.pass_time(10)
    assert not page.log("lost")
    wait_until(lambda: page.passing("ended") and page.log("lost"), 60, "the event lost")
    assert page.log("lost")[0]["streams"] == [STREAM]
    peer.rules["state"] = SERVE
    wait_until(lambda: page.passing("ended") and shown.restored, 60, "the state")
    peer.publish(2)
    shown.wait_for(5)


# ---- the page's own function


def test_a_function_that_shows_the_state_itself(peer: Peer, page: UpdatesPage) -> None:
    page.page.evaluate(
        """() => {
          updates.getState = async ({ streams, signal }) => {
            window.asked = [streams, signal instanceof AbortSignal];
            const { positions, numbers } = await (await fetch("/state", { signal })).json();
            log.push({ kind: "restored", data: { numbers } });
            return positions;
          };
        }"""
    )
    lose(peer)
    wait_until(lambda: page.log("restored"), 5, "the state")
    peer.publish(2)
    Shown(page).wait_for(5)
    assert page.page.evaluate("asked") == [[STREAM], True]


@pytest.mark.parametrize("returned", ["'/state'", "Promise.resolve(new URL('/state', location.href))"])
def test_a_function_that_returns_a_url(peer: Peer, page: UpdatesPage, returned: str) -> None:
    page.page.evaluate(f"() => {{ updates.getState = () => {returned}; }}")
    lose(peer)
    Shown(page).wait_until_restored()
    peer.publish(2)
    Shown(page).wait_for(5)


@pytest.mark.parametrize("body", ["throw new Error('a mistake');", "return undefined;", "return {};"])
def test_a_function_with_a_mistake(peer: Peer, page: UpdatesPage, windows: Windows, body: str) -> None:
    windows.expect_complaints()
    page.page.evaluate(
        f"() => {{ updates.getState = () => {{ window.calls = (window.calls ?? 0) + 1; {body} }}; }}"
    )
    lose(peer)
    wait_until(lambda: page.passing("ended") and page.page.evaluate("window.calls >= 3"), 20, "three calls")
    page.page.evaluate("() => { updates.getState = '/state'; }")
    Shown(page).wait_until_restored()
    peer.publish(2)
    Shown(page).wait_for(5)


def test_without_getstate_the_page_is_told_and_gets_the_updates_that_follow(
    peer: Peer, page: UpdatesPage
) -> None:
    """Also if it is taken away while the state is fetched."""
    peer.rules["state"] = STALL
    lose(peer)
    wait_until(lambda: peer.attempts("state"), 5, "the request")
    page.page.evaluate("() => { updates.getState = null; }")
    wait_until(lambda: page.log("lost"), 5, "the event lost")
    page.wait_for("live")
    peer.publish()
    page.wait_for_numbers(4)


# ---- the page's life


def test_signing_out_ends_it_and_signing_in_fetches_again(peer: Peer, page: UpdatesPage) -> None:
    shown = Shown(page)
    peer.rules["state"] = HOLD
    lose(peer)
    wait_until(lambda: peer.attempts("state"), 5, "the request")
    wait_until(lambda: peer.connections(), 5, "the connection")
    peer.close(4009)
    page.wait_for("signed-out")
    peer.release()
    peer.rules["state"] = SERVE
    page.pass_time(120)
    assert not shown.restored and len(peer.attempts("state")) == 1
    page.page.evaluate("updates.reconnect()")
    shown.wait_until_restored()
    page.wait_for("live")
    peer.publish(2)
    shown.wait_for(5)


def test_coming_online_it_fetches_at_once(peer: Peer, page: UpdatesPage, windows: Windows) -> None:
    windows.expect_complaints()
    peer.rules["state"] = Answer(502)
    lose(peer)
    wait_until(lambda: page.passing("ended") and len(peer.attempts("state")) >= 4, 30, "four requests")
    peer.rules["state"] = SERVE
    page.page.evaluate("dispatchEvent(new Event('online'))")
    Shown(page).wait_until_restored()


def test_a_page_in_the_back_forward_cache_fetches_when_it_is_shown_again(peer: Peer) -> None:
    with Tabs() as tabs:
        tab = tabs.open(peer.url + PAGE)
        options = {"positions": {STREAM: "0-0"}, "getState": STATE}
        tab.evaluate(START, [peer.url + MODULES + "updates.js", options])
        wait_until(lambda: tab.evaluate("updates.state") == "live", 15, "live")
        tab.evaluate("window.same = true")
        peer.rules["state"] = HOLD
        lose(peer)
        wait_until(lambda: peer.attempts("state"), 5, "the request")
        tab.go("about:blank")
        peer.release()
        peer.rules["state"] = SERVE
        tab.go_back()
        assert tab.evaluate("window.same") is True, "the browser reloaded the page"
        wait_until(lambda: tab.evaluate("updates.state") == "live", 10, "live again")
        restored = tab.evaluate(
            "log.filter(({ kind }) => kind === 'restored').map(({ data }) => data.numbers)"
        )
        assert restored == [[1, 2, 3]] and len(peer.attempts("state")) == 2
