"""updates.js against the real stack in extreme cases: a connection that dies silently, a limit that is
reached, a tab that doesn't read, pages that are rendered during commits.
"""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from faults.daphne import closes, connections
from playwright.sync_api import BrowserContext, Page

from harness.checker import Checker
from harness.chromium import Chromium
from harness.client.positions import Position
from harness.judge import Truth
from harness.meddler import Meddler, Rules
from harness.truth import read_heads, read_truth
from harness.waiting import wait_until

from .conftest import MAX_CONNECTIONS
from .desk import BACK, Desk

SILENT_CUT = 60.0  # seconds after the last data
TOO_SLOW = 4008
CUT_OFF = 45.0  # seconds until a tab that doesn't read is cut
LARGE, COUNT = 30_000, 700  # bytes per update and number of updates: more than all buffers hold
_PUBLISH = """
from sluice_updates import publish
for number in range({count}):
    publish({stream!r}, "large", {{"number": number, "text": "x" * {size}}})
"""

SECONDS = 30  # of continuous messages
# The lock stops readers of messages during a commit, so a page that has read its position waits for its data.
_SEND = """
import random, threading, time
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from inbox.sending import send
user = get_user_model().objects.get(username={user!r})
clock = threading.Event()  # never set: messages are due at moments of its own
due = time.monotonic()
end = due + {seconds}
while due < end:
    clock.wait(max(0, due - time.monotonic()))
    with transaction.atomic():
        cursor = connection.cursor()
        cursor.execute("LOCK TABLE inbox_message IN ACCESS EXCLUSIVE MODE")
        send(user, "another")
        cursor.execute("SELECT pg_sleep(0.05)")  # the lock lasts so long
    due = time.monotonic() + random.uniform(0, 0.05)
"""


def test_after_a_silent_cut_pages_are_back_within_a_minute(desk: Desk) -> None:
    """One page by WebSocket, one by server-sent events. All connections stay open, but carry nothing."""
    with Meddler(desk.stack.port) as other, Checker(desk.stack) as checker:
        other.rules = Rules(strip_upgrade=True)
        pages = [
            desk.page().wait_for("live", transport="websocket"),
            desk.page(through=other).wait_for("live", 30, transport="sse"),
        ]
        checker.writer("alice", to="bob", rate=10)
        wait_until(lambda: all(page.arrived >= 10 for page in pages), 20, "updates")
        for meddler in (desk.meddler, other):
            meddler.go_silent()
        cut = time.monotonic()
        seen = [page.arrived for page in pages]
        wait_until(
            lambda: all(page.arrived > before for page, before in zip(pages, seen, strict=True)),
            SILENT_CUT,
            "updates again",
        )
        print(f"back {time.monotonic() - cut:.1f} s after the cut")
        for page in pages:
            page.wait_for("live", SILENT_CUT - (time.monotonic() - cut))
            assert any(end.get("silent") for end in page.connection("ended"))
        checker.close()
    desk.verdict(checker.before, *pages)


def test_4013_a_person_has_too_many_connections(desk: Desk) -> None:
    before = read_heads(desk.stack)
    with Checker(desk.stack) as checker:
        others = [checker.client("carol") for _ in range(MAX_CONNECTIONS)]
        page = desk.page("carol", own_time=True).wait_for("polling")
        assert page.ended[:1] == [("websocket", 4013)]
        wait_until(lambda: page.diagnosis, 10, "a diagnosis")
        assert page.diagnosis and page.diagnosis["code"] == "too-many-connections"
        desk.stack.browser("alice").send_message("carol", "by polling")
        wait_until(lambda: page.arrived == 1, 10, "what is polled")
        had = connections(desk.stack)
        for other in others[:2]:  # the site's own script on this page waits for a slot too
            checker.call(other, "leave")
        wait_until(lambda: connections(desk.stack) == had - 2, 10, "two that have left")
        wait_until(lambda: page.passing("opening"), 30, "a second attempt")
        page.wait_for("live", transport="websocket")
        ended, again = page.connection("ended")[0], page.connection("opening")[0]
        assert again["at"] - ended["at"] >= 30_000
        desk.stack.browser("alice").send_message("carol", "by the WebSocket")
        wait_until(lambda: page.arrived == 2, 5, "what is sent")
    checker.close()
    desk.verdict(before, page)


# ---- a page's own position


class Load:
    """One load of erin's inbox: the received HTML, and each frame of its WebSocket."""

    def __init__(self, window: BrowserContext, url: str, stream: str) -> None:
        self.frames: list[dict[str, Any]] = []
        self.page: Page = window.new_page()
        self.page.on("websocket", lambda socket: socket.on("framereceived", self._read))
        answer = self.page.goto(url)
        assert answer
        html = answer.text()
        (data,) = re.findall(r'<script id="sluice-updates" type="application/json">(.+?)</script>', html)
        self.stream = stream
        self.position = Position.parse(json.loads(data)["positions"][stream])
        self.shown = {int(number) for number in re.findall(r'<li id="message-(\d+)"', html)}

    def _read(self, data: str | bytes) -> None:
        self.frames.append(json.loads(data))

    @property
    def delivered(self) -> list[dict[str, Any]]:
        """The stream's updates that arrived by WebSocket."""
        return [frame for frame in self.frames if frame.get("stream") == self.stream]

    @property
    def last(self) -> int:
        """The offset of the last update so far."""
        delivered = self.delivered
        return Position.parse(delivered[-1]["position"]).offset if delivered else self.position.offset

    def has_come_to(self, head: int) -> bool:
        """Whether the update with this offset has arrived, and the page shows it or a later one. Asserts that
        none is shown twice.
        """
        listed: list[int] = self.page.evaluate(
            "[...document.querySelectorAll('.message')].map(({ id }) => Number(id.replace('message-', '')))"
        )  # the browser's pending events are handled during this call
        assert len(set(listed)) == len(listed), f"shown twice: {sorted(listed)}"
        came = [frame for frame in self.delivered if Position.parse(frame["position"]).offset <= head]
        newest = max([*self.shown, *(frame["payload"]["message_id"] for frame in came)])
        return self.last >= head and max(listed) >= newest

    @property
    def is_raced(self) -> bool:
        """Whether an update was committed between the reading of its position and of its data."""
        return any(frame["payload"]["message_id"] in self.shown for frame in self.delivered)

    def check(self, truth: Truth) -> None:
        """Assert that every message is in the HTML or arrived later, and that each update arrived once, in
        order.
        """
        (hello,) = [frame for frame in self.frames if frame["event"] == "hello"]
        assert hello["payload"]["streams"][self.stream]["recovered"] is True
        offsets = [Position.parse(frame["position"]).offset for frame in self.delivered]
        assert offsets == list(range(self.position.offset + 1, self.last + 1))
        before = {
            row.payload["message_id"]
            for offset, row in truth.rows[self.stream].items()
            if offset <= self.position.offset and row.event == "new-message"
        }
        # A page shows the newest hundred.
        lost = {message for message in before - self.shown if message > min(self.shown)}
        assert not lost


def test_a_page_that_is_rendered_while_updates_are_committed(desk: Desk) -> None:
    """At any moment, a message is in the page's HTML or arrives as an update. It is never missing from
    both.
    """
    window = desk.windows.window(desk.stack.browser("erin"))
    before = read_heads(desk.stack)
    desk.stack.browser("alice").send_message("erin", "the first")
    (stream,) = [name for name, head in read_heads(desk.stack).items() if before.get(name) != head]
    code = _SEND.format(user="erin", seconds=SECONDS)
    loads: list[Load] = []
    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(desk.stack.manage, code)
        while not sending.done():
            load = Load(window, f"{desk.stack.url}/messages/", stream)
            loads.append(load)
            head = read_heads(desk.stack)[stream].offset
            wait_until(lambda: load.has_come_to(head), 20, f"update {head}", every=0.05)  # noqa: B023
            load.page.close()
        sending.result()
    truth = read_truth(desk.stack)
    for load in loads:
        load.check(truth)
    met = sum(load.is_raced for load in loads)
    print(f"{met} of {len(loads)} pages were rendered while an update was committed")
    assert met >= 5


def test_4008_a_tab_that_does_not_read(desk: Desk, chromium: Chromium) -> None:
    """Connects directly to nginx, because the published port is one of the engine's programs, whose buffers
    hold many MB.

    The last test, because it leaves 20 MB in the table.
    """
    before, had = read_heads(desk.stack), closes(desk.stack, TOO_SLOW)
    nginx = desk.stack.service("nginx")[0].addresses["front"]
    with Meddler(8080, nginx) as meddler:
        meddler.rules = Rules(narrow=True)
        page = desk.page("carol", through=meddler).wait_for("live")
        stream = next(name for name in page.positions if name.startswith("user:"))
        with chromium.asleep():
            desk.stack.manage(_PUBLISH.format(count=COUNT, stream=stream, size=LARGE), "celery")
            # The test's own connection, and that of the site's own script on this page.
            wait_until(lambda: closes(desk.stack, TOO_SLOW) == had + 2, CUT_OFF, "both cut", every=0.5)
            meddler.rules = Rules()
        wait_until(lambda: page.ended, BACK, "it has come to the end of the connection")
        page.wait_for("live", BACK)
        assert page.ended == [("websocket", TOO_SLOW)]
        wait_until(lambda: page.arrived == COUNT, BACK, "all of them")
        desk.verdict(before, page)
