"""Bad input to the site: 4xx, JSON that names the field and the limit, and nothing in the queue."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from harness import raw
from harness.stack import Stack
from harness.volume import sample

GOOD = {"x": [0, 8], "y": [0, 8], "z": [0, 8]}
FAR = 1_000_000

BOXES: dict[str, tuple[Any, str]] = {
    "outside": ({**GOOD, "x": [0, FAR]}, "box.x"),
    "negative": ({**GOOD, "y": [-1, 8]}, "box.y"),
    "inverted": ({**GOOD, "z": [8, 0]}, "box.z"),
    "empty": ({**GOOD, "x": [8, 8]}, "box.x"),
    "fraction": ({**GOOD, "x": [0, 8.5]}, "box.x"),
    "text": ({**GOOD, "x": ["0", "8"]}, "box.x"),
    "truth": ({**GOOD, "x": [False, True]}, "box.x"),
    "huge": ({**GOOD, "x": [0, 10**400]}, "box.x"),
    "three ends": ({**GOOD, "x": [0, 4, 8]}, "box.x"),
    "no list": ({**GOOD, "x": 8}, "box.x"),
    "axis missing": ({"x": [0, 8], "y": [0, 8]}, "box.z"),
    "axis too many": ({**GOOD, "t": [0, 1]}, "box.t"),
    "no object": ([0, 8], "box"),
    "nothing": (None, "box"),
}

MESSAGES: dict[str, tuple[dict[str, Any], str]] = {
    "nobody": ({"title": "t", "text": "x"}, "to"),
    "unknown": ({"to": "no-such-person", "title": "t", "text": "x"}, "to"),
    "no title": ({"to": "bob", "text": "x"}, "title"),
    "empty title": ({"to": "bob", "title": "", "text": "x"}, "title"),
    "title too long": ({"to": "bob", "title": "t" * 10_000, "text": "x"}, "title"),
    "title no text": ({"to": "bob", "title": 7, "text": "x"}, "title"),
    "text too long": ({"to": "bob", "title": "t", "text": "x" * 20_000}, "text"),
}


UPDATES = {"websocket": "channels/updates/", "sse": "channels/updates/sse", "polling": "updates/"}


@pytest.mark.parametrize("transport", UPDATES)
def test_a_url_of_7_kib_is_answered_and_a_longer_one_refused(site: Stack, transport: str) -> None:
    cookie = {"Cookie": site.browser("alice").cookies}
    wire = {"websocket": raw.upgrade}.get(transport, raw.get)
    url = f"{site.prefix}/{UPDATES[transport]}?streams=all&x="
    fits = wire(site.port, url.ljust(7168, "x"), headers=cookie if transport != "sse" else {})
    assert fits.status == (101 if transport == "websocket" else 200)
    assert fits.backend == ("wsgi" if transport == "polling" else "asgi")
    long = wire(site.port, url.ljust(7169, "x"), headers=cookie)
    assert (long.status, long.backend) == (414, "nginx")


@pytest.mark.parametrize("name", BOXES)
def test_a_box_that_can_not_be_cut_is_refused_by_field(stack: Stack, name: str) -> None:
    alice = stack.browser("alice")
    box, field = BOXES[name]
    before = _stored(stack)
    answer = alice.post(f"/volumes/{sample(stack).id}/crops/", {"box": box})
    assert_refused(answer, 400, field)
    assert _stored(stack) == before


def test_a_box_over_the_limit_names_it(stack: Stack) -> None:
    limit = int(stack.settings["CROP_MAX_VOXELS"])
    answer = stack.browser("alice").post(f"/volumes/{sample(stack).id}/crops/", {"box": sample(stack).whole})
    assert_refused(answer, 400, "box")
    assert answer.json()["error"]["limit"] == limit


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_that_can_not_be_sent_is_refused_by_field(stack: Stack, name: str) -> None:
    alice = stack.browser("alice")
    stack.person("bob")
    body, field = MESSAGES[name]
    before = _stored(stack)
    assert_refused(alice.post("/messages/", body), (400, 404), field)
    assert _stored(stack) == before


@pytest.mark.parametrize("path", ["/messages/", "/volumes/1/crops/"])
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"\xff", b'"x"', b"[" * 20_000, b"null"])
def test_a_malformed_body_is_refused(stack: Stack, path: str, body: bytes) -> None:
    alice = stack.browser("alice")
    headers = {
        "X-CSRFToken": alice.csrf_token,
        "Referer": f"{stack.url}/",
        "Content-Type": "application/json",
    }
    answer = alice.http.post(stack.url + path, data=body, headers=headers, timeout=15)
    assert answer.status_code == 400 and answer.json()["error"]["detail"]


def test_a_body_that_is_too_long_is_413_and_the_limit_is_named(stack: Stack) -> None:
    answer = stack.browser("alice").post("/messages/", {"to": "bob", "title": "t", "text": "x" * 100_000})
    assert_refused(answer, 413, "body")
    assert answer.json()["error"]["limit"] < 100_000


def test_nginx_refuses_a_body_that_is_too_large(stack: Stack) -> None:
    head = {"Content-Type": "application/json", "Content-Length": str(10**12)}
    answer = raw.get(stack.port, "/messages/", method="POST", headers=head)
    assert (answer.status, answer.backend) == (413, "nginx") and b"body" in answer.body


def test_an_unknown_volume_is_404(stack: Stack) -> None:
    assert_refused(stack.browser("alice").post("/volumes/999999/crops/", {"box": GOOD}), 404)


@pytest.mark.parametrize("path", ["/messages/", "/volumes/1/crops/"])
def test_an_unauthenticated_post_is_401_json(stack: Stack, path: str) -> None:
    anonymous = stack.browser()
    anonymous.get("/accounts/login/")
    assert_refused(anonymous.post(path, {"box": GOOD}), 401)


@pytest.mark.parametrize("path", ["/crops/1/", "/crops/1/download/", "/messages/", "/updates/"])
def test_an_unauthenticated_get_of_data_is_401_json(stack: Stack, path: str) -> None:
    answer = requests.get(
        stack.url + path, headers={"Accept": "application/json"}, timeout=15, allow_redirects=False
    )
    assert answer.status_code == 401 and answer.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize("path", ["/messages/", "/volumes/1/crops/"])
def test_a_post_without_its_csrf_token_is_403_json(stack: Stack, path: str) -> None:
    alice = stack.browser("alice")
    answer = alice.http.post(stack.url + path, json={"box": GOOD}, timeout=15)
    assert_refused(answer, 403)


@pytest.mark.parametrize("path", ["/messages/", "/volumes/1/crops/"])
def test_a_post_from_a_foreign_page_is_403(stack: Stack, path: str) -> None:
    alice = stack.browser("alice")
    headers = {"X-CSRFToken": alice.csrf_token, "Origin": "http://evil.example"}
    assert (
        alice.http.post(stack.url + path, json={"box": GOOD}, headers=headers, timeout=15).status_code == 403
    )


def assert_refused(
    answer: requests.Response, status: int | tuple[int, ...], field: str | None = None
) -> None:
    """Assert a 4xx whose JSON explains the mistake and names the field."""
    expected = status if isinstance(status, tuple) else (status,)
    assert answer.status_code in expected, f"{answer.status_code} {answer.text[:300]}"
    error = answer.json()["error"]
    assert error["detail"] and (field is None or error["field"] == field), error


def _stored(stack: Stack) -> list[list[str]]:
    tables = ("volumes_crop", "inbox_message", "sluice_updates_update")
    return [stack.psql(f"SELECT count(*) FROM {table}")[0] for table in tables]
