"""A page loaded by https: its WebSocket is wss, and updates arrive on it at once."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page

from harness.chromium import Chromium
from harness.stack import Stack
from harness.waiting import wait_until


@pytest.fixture(scope="module")
def encrypted(image_tag: str) -> Iterator[Stack]:
    with Stack(image_tag, {"TLS": "self-signed"}) as stack:
        yield stack


def test_a_page_by_https_opens_wss(chromium: Chromium, encrypted: Stack) -> None:
    """The user told the browser to accept the certificate."""
    window = chromium.browser.new_context(ignore_https_errors=True)
    try:
        bob = encrypted.browser("bob")
        cookies = [(cookie.name, cookie.value or "") for cookie in bob.http.cookies]
        for name, value in cookies:
            window.add_cookies([{"name": name, "value": value, "url": encrypted.origin, "secure": True}])
        page = window.new_page()
        opened: list[str] = []
        received: list[str] = []
        page.on("websocket", lambda socket: opened.append(socket.url))
        page.on(
            "websocket",
            lambda socket: socket.on("framereceived", lambda frame: received.append(str(frame))),
        )
        page.goto(f"{encrypted.url}/messages/")
        wait_until(lambda: _turn(page) or any("hello" in frame for frame in received), 15, "hello")
        encrypted.browser("alice").send_message("bob", "by wss")
        wait_until(lambda: _turn(page) or any("by wss" in frame for frame in received), 10, "the message")
        assert {urlsplit(url).scheme for url in opened} == {"wss"}
    finally:
        window.close()


def _turn(page: Page) -> bool:
    """Let Playwright handle pending events. Always returns False."""
    page.wait_for_timeout(50)
    return False
