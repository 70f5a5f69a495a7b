"""A real Chromium, driven by Playwright: windows with separate cookie jars, and their console messages.

def test_…(windows: Windows, stack: Stack) -> None:
    page = windows.open(stack.browser("alice"), "/messages/")
    expect(page.locator("#connection")).to_have_text("Live.")

The fixtures are in harness.fixtures. Only the image sluice-tests-browser has a browser. Playwright keeps all
its pages visible and awake; harness.tabs is for hidden and frozen pages.
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
    "--disable-dev-shm-usage",  # /dev/shm is small in a container
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
)
# Chromium itself logs this when a connection fails. No script can prevent it.
NETWORK = r"WebSocket connection to .* failed|Failed to load resource"


class Visitor(Protocol):
    """A user whose session a window uses, for example a harness.site.Browser."""

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
        """Stop all page processes of the browser during the block. The pages get no event about it."""
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
    """The windows of one test. Each has its own cookie jar, which its tabs share."""

    def __init__(self, chromium: Chromium) -> None:
        self.complaints: list[str] = []
        self.warnings: list[str] = []
        self._chromium = chromium
        self._contexts: list[BrowserContext] = []
        self._expected: list[str] = []

    def window(self, visitor: Visitor | None = None) -> BrowserContext:
        """Open a window with the visitor's session. It accepts the site's own certificate if the visitor
        trusts one.
        """
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
        """Open a page of the site, in a new window unless one is given."""
        page = (window or self.window(visitor)).new_page()
        page.goto(visitor.url + path)
        return page

    def expect_complaints(self, pattern: str = NETWORK) -> None:
        """Accept matching console messages from now on, because the test provokes them."""
        self._expected.append(pattern)

    @contextmanager
    def judged(self) -> Iterator[Windows]:
        """Close everything at the end. Raises AssertionError if a console had an unexpected message."""
        try:
            yield self
        finally:
            for context in self._contexts:
                context.close()
        unexpected = [
            text for text in self.complaints if not any(re.search(known, text) for known in self._expected)
        ]
        assert not unexpected, f"unexpected messages on the browser's console: {unexpected}"

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "assert"):
            self.complaints.append(f"{message.text} ({message.location['url']})")
        elif message.type == "warning":
            self.warnings.append(message.text)
