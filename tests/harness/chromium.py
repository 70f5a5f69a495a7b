"""A real Chromium, driven by Playwright: windows with a cookie jar each, and what their consoles complain of.

def test_…(windows: Windows, stack: Stack) -> None:
    page = windows.open(stack.browser("alice"), "/messages/")
    expect(page.locator("#connection")).to_have_text("Live.")

The fixtures are in harness.fixtures; only the image sluice-tests-browser has a browser. What Playwright
can't do, since it keeps all its pages in view and awake, is in harness.tabs.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol
from urllib.parse import urlsplit

import requests
from playwright.sync_api import BrowserContext, ConsoleMessage, Error, Page, sync_playwright

EXECUTABLE = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",  # the tests run as root, in a container
    "--disable-dev-shm-usage",  # whose /dev/shm is small
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)
# What Chromium itself writes when a connection can't be had: no script can keep it from that.
NETWORK = r"WebSocket connection to .* failed|Failed to load resource"


class Visitor(Protocol):
    """Somebody whose session a window takes over; harness.site.Browser is one."""

    url: str
    http: requests.Session


class Chromium:
    """One browser process. A context manager."""

    def __init__(self) -> None:
        self._playwright = sync_playwright().start()
        try:
            self.browser = self._playwright.chromium.launch(
                executable_path=EXECUTABLE, headless=True, args=FLAGS
            )
        except Error:
            self._playwright.stop()
            raise

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.browser.close()
        self._playwright.stop()

    @contextmanager
    def asleep(self) -> Iterator[None]:
        """While the block runs no page of the browser gets a turn, and none is told: they are stopped."""
        session = self.browser.new_browser_cdp_session()
        processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
        session.detach()
        pages = [int(process["id"]) for process in processes if process["type"] == "renderer"]
        assert pages
        for pid in pages:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pages:
                os.kill(pid, signal.SIGCONT)


class Windows:
    """The windows of one test. Each has a cookie jar of its own; tabs of one window share it."""

    def __init__(self, chromium: Chromium) -> None:
        self.complaints: list[str] = []
        self.warnings: list[str] = []
        self._chromium = chromium
        self._contexts: list[BrowserContext] = []
        self._expected: list[str] = []

    def window(self, visitor: Visitor | None = None) -> BrowserContext:
        """A window, signed in as the visitor is; one who trusts a certificate of the site's own takes it."""
        accepts = visitor is not None and isinstance(visitor.http.verify, str)
        context = self._chromium.browser.new_context(ignore_https_errors=accepts)
        self._contexts.append(context)
        context.on("console", self._console)
        context.on("weberror", lambda error: self.complaints.append(f"uncaught: {error.error}"))
        if visitor is not None:
            where = urlsplit(visitor.url)
            context.add_cookies(
                [
                    {
                        "name": cookie.name,
                        "value": cookie.value or "",
                        "url": f"{where.scheme}://{where.netloc}",
                    }
                    for cookie in visitor.http.cookies
                ]
            )
        return context

    def open(self, visitor: Visitor, path: str = "/", *, window: BrowserContext | None = None) -> Page:
        """A page of the site, in a window of its own if none is given."""
        page = (window or self.window(visitor)).new_page()
        page.goto(visitor.url + path)
        return page

    def expect_complaints(self, pattern: str = NETWORK) -> None:
        """From now on messages like these are no failure: what the test does brings them about."""
        self._expected.append(pattern)

    @contextmanager
    def judged(self) -> Iterator[Windows]:
        """At the end: close everything; raise AssertionError if a console complained unexpectedly."""
        try:
            yield self
        finally:
            for context in self._contexts:
                context.close()
        unexpected = [
            text for text in self.complaints if not any(re.search(known, text) for known in self._expected)
        ]
        assert not unexpected, f"the browser's console: {unexpected}"

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "assert"):
            self.complaints.append(f"{message.text} ({message.location['url']})")
        elif message.type == "warning":
            self.warnings.append(message.text)
