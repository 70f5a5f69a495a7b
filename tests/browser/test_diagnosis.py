"""What the operator is told if there is no WebSocket: each diagnosis, by its cause."""

from __future__ import annotations

import re

import pytest

from harness.chromium import Windows
from harness.compose import SOURCE
from harness.peer import CUT, SERVE, SWALLOW, Answer, Close, Peer, Rule
from harness.waiting import wait_until

from .conftest import Open

PAGE = SOURCE / "docs/reference/updates-js.md"
ROW = re.compile(r"^\| `([a-z-]+)` \| (.+?) \| (.+?) \|$", re.MULTILINE)
DEAF = Answer(503, '{"status": "deaf"}', "application/json")
FOREIGN = Answer(200, '{"status": "ok", "origin": "refused"}', "application/json")
NOT_FOUND = Answer(404, "<h1>Not found</h1>", "text/html")
NOT_HERE = Answer(404, "404: nothing is here. This site is at /catmaid/\n")
NO_PATH = Answer(404, "Not found.\n")

# The rules, in this order: websocket, sse, health, plain. None: works.
CAUSES: list[tuple[str, tuple[Rule | None, ...]]] = [
    ("unreachable", (Answer(502), Answer(502), CUT, None)),
    ("host-refused", (Answer(421), Answer(421), Answer(421), Answer(421))),
    ("wrong-root", (NOT_HERE, NOT_HERE, NOT_HERE, NOT_HERE)),
    ("not-daphne", (NOT_FOUND, NOT_FOUND, NOT_FOUND, NOT_FOUND)),
    ("not-daphne", (NOT_FOUND, NOT_FOUND, None, NOT_FOUND)),
    ("daphne-down", (Answer(503), Answer(503), Answer(503), None)),
    ("daphne-down", (Answer(502), Answer(502), Answer(502), None)),
    ("daphne-down", (Answer(504), Answer(504), Answer(504), None)),
    ("daphne-deaf", (Answer(403), Answer(403), DEAF, None)),
    ("database-down", (Close(1013), None, None, None)),
    ("too-many-at-once", (Close(1013, retry=1000), None, None, None)),
    ("restarting", (Close(1012), None, None, None)),
    ("server-error", (Close(1011), None, None, None)),
    ("too-many-connections", (Close(4013), None, None, None)),
    ("too-many-from-address", (Answer(429), Answer(429), None, None)),
    ("too-many-from-address", (Answer(429), None, Answer(429), None)),
    ("origin-refused", (Answer(403), None, FOREIGN, None)),
    ("frames-swallowed", (SWALLOW, None, None, None)),
    ("frames-swallowed", (CUT, None, None, None)),
    ("no-upgrade", (Answer(426), None, None, None)),
    ("no-upgrade-to-daphne", (Answer(404), None, None, NO_PATH)),
    ("no-upgrade-to-daphne", (Answer(400), None, None, Answer(400))),
]


def rows() -> list[tuple[str, str, str]]:
    """Code, text and setting of each diagnosis on the reference page."""
    found: list[tuple[str, str, str]] = ROW.findall(PAGE.read_text().partition("## Diagnosis")[2])
    return found


@pytest.mark.parametrize(("code", "rules"), CAUSES, ids=lambda value: value if isinstance(value, str) else "")
def test_each_cause_is_diagnosed_with_its_setting(
    peer: Peer, open_page: Open, windows: Windows, code: str, rules: tuple[Rule | None, ...]
) -> None:
    windows.expect_complaints()
    for way, rule in zip(("websocket", "sse", "health", "plain"), rules, strict=True):
        if rule is not None:
            peer.rules[way] = rule
    page = open_page()
    wait_until(lambda: page.diagnosis, 15, "a diagnosis")
    documented = {name: (text, setting) for name, text, setting in rows()}
    assert page.diagnosis == dict(zip(("code", "text", "setting"), (code, *documented[code]), strict=True))
    peer.all_rules(SERVE, "websocket", "sse", "health")
    page.page.evaluate("updates.reconnect()")
    page.wait_for("live", transport="websocket")
    assert page.diagnosis is None
    assert len([text for text in windows.warnings if text.startswith("updates.js:")]) == 1


def test_it_reports_that_events_are_buffered_too(peer: Peer, open_page: Open, windows: Windows) -> None:
    windows.expect_complaints()
    peer.rules["websocket"] = Answer(426)
    peer.rules["sse"] = SWALLOW
    page = open_page().wait_for("polling", 15)
    wait_until(lambda: page.diagnosis, 15, "a diagnosis")
    assert page.diagnosis and page.diagnosis["code"] == "no-upgrade"
    assert "something buffers responses" in page.diagnosis["text"]


def test_the_reference_page_has_them_all(open_page: Open) -> None:
    known = open_page().page.evaluate(
        "import('/static/sluice_updates/diagnosis.js').then(({ KNOWN }) => KNOWN)"
    )
    documented = {name: [text, setting] for name, text, setting in rows()}
    assert documented == known and {code for code, _ in CAUSES} == set(known)
