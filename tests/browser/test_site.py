"""The site's own pages, live, in a real browser."""

from __future__ import annotations

from playwright.sync_api import expect

from harness.chromium import Windows
from harness.stack import Stack


def test_a_message_appears_on_an_open_page(site: Stack, windows: Windows) -> None:
    page = windows.open(site.browser("bob"), "/messages/")
    expect(page.locator("#connection")).to_have_text("Live.")
    site.browser("alice").send_message("bob", "it is <b>done</b>")
    expect(page.locator("#news li").first).to_have_text("New message: it is <b>done</b>")
    expect(page.locator("#live h2").first).to_have_text("it is <b>done</b>")
