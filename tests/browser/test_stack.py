"""updates.js against the real stack: each transport, each close code that the stack can send, faults,
proxies.

The judge checks a page's updates like any client's: each update that it was owed, once, in order.
"""

from __future__ import annotations

import time

import pytest

from harness.checker import Checker
from harness.client.positions import Position
from harness.faults import KILL, PAUSE, TERM, Fault
from harness.meddler import Rules
from harness.truth import read_heads
from harness.updates_page import UpdatesPage
from harness.waiting import wait_until

from .desk import BACK, Desk

GROWN = 15.0  # seconds until the back-off of a page that can't connect has grown


# ---- the three transports, and proxies in between


@pytest.mark.parametrize(
    ("rules", "transport", "diagnosis"),
    [
        (Rules(), "websocket", None),
        (Rules(strip_upgrade=True), "sse", "no-upgrade"),
        (Rules(swallow_frames=True), "sse", "frames-swallowed"),
        (Rules(host="localhost:{port}"), "sse", "origin-refused"),
        (Rules(strip_upgrade=True, buffer_streams=True), "polling", "no-upgrade"),
        (Rules(swallow_frames=True, buffer_streams=True), "polling", "frames-swallowed"),
        (Rules(block="/channels/"), "polling", "not-daphne"),
    ],
    ids=["nothing", "strips", "swallows", "renames", "strips-buffers", "swallows-buffers", "blocks"],
)
def test_all_updates_arrive_through_any_proxy_by_websocket_if_possible(
    desk: Desk, rules: Rules, transport: str, diagnosis: str | None
) -> None:
    rules.host = rules.host.format(port=desk.stack.port)
    desk.meddler.rules = rules
    with Checker(desk.stack) as checker:
        page = desk.page().wait_for("polling" if transport == "polling" else "live", 30, transport=transport)
        wait_until(lambda: (page.diagnosis or {}).get("code") == diagnosis, 10, f"the diagnosis {diagnosis}")
        checker.writer("alice", to="bob", rate=10)
        wait_until(lambda: page.arrived >= 20, 20, "updates")
        desk.meddler.rules = Rules()
        page.wait_for("live", 65, transport="websocket")
        seen = page.arrived
        wait_until(lambda: page.arrived >= seen + 20, 20, "updates afterwards")
    checker.close()
    assert page.diagnosis is None
    desk.verdict(checker.before, page)


# ---- close codes that the stack itself can send


def test_1012_a_restart(desk: Desk) -> None:
    page = desk.page().wait_for("live")
    replica = desk.stack.service("asgi")[0]
    replica.stop()
    replica.start()
    desk.stack.service("asgi").wait_healthy()
    page.wait_for("live", BACK, transport="websocket")
    assert ("websocket", 1012) in page.ended


def test_1013_the_database_is_down_during_the_handshake(desk: Desk) -> None:
    page = desk.page().wait_for("live")
    with PAUSE(desk.stack.service("postgres")):
        page.page.evaluate("updates.reconnect()")
        wait_until(lambda: ("websocket", 1013) in page.ended, 15, "the close")
        page.wait_for("offline", 30)
    desk.stack.service("postgres").wait_healthy()
    page.wait_for("live", BACK, transport="websocket")


def test_4000_a_stream_that_is_no_name(desk: Desk) -> None:
    page = desk.page(streams=["No Stream"]).wait_for("stopped")
    assert page.ended == [("websocket", 4000)]


def test_4001_without_a_session(desk: Desk) -> None:
    page = desk.page(None).wait_for("signed-out")
    assert page.ended == [("websocket", 4001)]


def test_4003_nothing_may_be_read(desk: Desk) -> None:
    page = desk.page(streams=["user:999999"]).wait_for("stopped")
    assert page.ended == [("websocket", 4003)]


def test_4009_signing_out_in_another_tab(desk: Desk) -> None:
    desk.stack.person("dora")
    visitor = desk.stack.browser()
    visitor.sign_in("dora", desk.stack.person("dora"))
    window = desk.windows.window(visitor)
    page = desk.page(None, window=window).wait_for("live")
    other = window.new_page()
    other.goto(f"{desk.stack.url}/messages/")
    other.get_by_role("button", name="Sign out").click()
    page.wait_for("signed-out", 10)
    assert page.ended == [("websocket", 4009)]


def test_4010_the_past_of_a_stream_changes(desk: Desk) -> None:
    desk.stack.browser("alice").send_message("bob", "will not have been")
    page = desk.page().wait_for("live")
    before = read_heads(desk.stack)
    stream = next(name for name in page.positions if name.startswith("user:"))
    desk.stack.psql(
        "DELETE FROM sluice_updates_update WHERE stream = :'stream' AND \"offset\" ="
        " (SELECT head FROM sluice_updates_stream WHERE name = :'stream');"
        " UPDATE sluice_updates_stream SET head = head - 1, head_tag = coalesce((SELECT tag FROM"
        " sluice_updates_update WHERE stream = :'stream' AND \"offset\" = head - 1), '0')"
        " WHERE name = :'stream'",
        parameters={"stream": stream},
    )
    wait_until(lambda: page.log("lost"), 30, "the page is told")
    assert ("websocket", 4010) in page.ended and page.log("lost")[0]["streams"] == [stream]
    page.wait_for("live")
    desk.stack.browser("alice").send_message("bob", "goes on")
    desk.stack.browser("alice").send_message("bob", "goes on and on")
    desk.verdict(before, page, lost=True)


# ---- faults


@pytest.mark.parametrize(
    ("service", "fault", "lasting"),
    [
        ("asgi", KILL, GROWN),
        ("asgi", PAUSE, GROWN),
        ("nginx", KILL, GROWN),
        ("nginx", TERM, GROWN),
        ("wsgi", KILL, 5),
        ("rabbitmq", KILL, 5),
        ("postgres", KILL, 5),
    ],
    ids=str,
)
def test_it_is_back_within_25_seconds_of_a_faults_end(
    desk: Desk, service: str, fault: Fault, lasting: float
) -> None:
    with Checker(desk.stack) as checker:
        checker.writer("alice", to="bob", rate=10)
        page = desk.page().wait_for("live")
        wait_until(lambda: page.arrived >= 10, 20, "updates")
        began = time.monotonic()
        with fault(desk.stack.service(service)):
            wait_until(lambda: time.monotonic() - began > lasting, lasting + 5, f"{lasting} s of it")
        desk.stack.service(service).wait_healthy()
        over = time.monotonic()
        heads = read_heads(desk.stack)
        wait_until(lambda: page.transport == "websocket" and page.state == "live", BACK, "it is live again")
        wait_until(lambda: _stands_at(page, heads), BACK - (time.monotonic() - over), "what it missed")
        print(f"{fault} {service}: back {time.monotonic() - over:.1f} s after its end")
    checker.close()
    desk.verdict(checker.before, page)


def _stands_at(page: UpdatesPage, heads: dict[str, Position]) -> bool:
    """Whether the page has all updates committed up to these heads."""
    return all(
        Position.parse(position).offset >= heads[stream].offset
        for stream, position in page.positions.items()
        if stream in heads
    )
