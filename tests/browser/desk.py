"""Pages of a real stack that run updates.js, and the verdict on the updates that they received."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import BrowserContext

from harness.chromium import Windows
from harness.client.positions import Position
from harness.judge import judge
from harness.meddler import Meddler
from harness.stack import Stack
from harness.truth import published, read_heads, read_truth
from harness.updates_page import UpdatesPage
from harness.waiting import wait_until

BACK = 25.0  # seconds after a fault's end


class Desk:
    """Pages of one stack, which they reach through the meddler."""

    def __init__(self, stack: Stack, windows: Windows, meddler: Meddler) -> None:
        self.stack = stack
        self.windows = windows
        self.meddler = meddler
        windows.expect_complaints()

    def page(
        self,
        user: str | None = "bob",
        *,
        window: BrowserContext | None = None,
        through: Meddler | None = None,
        own_time: bool = False,
        **options: Any,
    ) -> UpdatesPage:
        """Open a page that runs updates.js as this user, or without a session if None.

        `through`: another meddler than the desk's. `own_time`: the test may put the page's clock forward.
        """
        visitor = self.stack.browser(user) if user else None
        tab = (window or self.windows.window(visitor)).new_page()
        if own_time:
            tab.clock.install()
        root = f"http://localhost:{(through or self.meddler).port}{self.stack.prefix}"
        tab.goto(f"{root}/accounts/login/")
        given = {"root": f"{root}/", "pollSeconds": 2} | options
        return UpdatesPage(tab, f"{root}/static/sluice_updates/updates.js", **given)

    def verdict(self, before: dict[str, Position], *pages: UpdatesPage, lost: bool = False) -> None:
        """Assert that all pages are at the heads and received what they were owed. `lost`: some updates were
        lost on purpose.
        """
        heads = read_heads(self.stack)

        def caught_up() -> bool:
            return all(
                Position.parse(position) == heads.get(stream, Position.parse(position))
                for page in pages
                for stream, position in page.positions.items()
            )

        wait_until(caught_up, BACK, "the pages at the heads")
        truth = read_truth(self.stack)
        ledgers = [page.ledger(f"page {number}") for number, page in enumerate(pages, 1)]
        judge(
            truth, ledgers, published=published(before, truth), provoked=lambda ledger, stream: lost
        ).check()
