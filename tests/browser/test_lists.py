"""Long lists, and lists that change while a user works with the keyboard: everything stays reachable."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from harness.chromium import Windows
from harness.stack import Stack
from harness.volume import sample
from harness.waiting import wait_until

# Messages in the inbox. The newest is "message 104".
MANY = 105


def fill(site: Stack, name: str, messages: int) -> None:
    """Put this many messages into a user's inbox."""
    site.person(name)
    site.manage(
        "from django.contrib.auth import get_user_model as m; from inbox.models import Message;"
        f"u = m().objects.get(username={name!r}); Message.objects.filter(recipient=u).delete();"
        f"new = [Message(recipient=u, title=f'message {{n}}') for n in range({messages})];"
        "Message.objects.bulk_create(new)"
    )


def inbox(site: Stack, windows: Windows, name: str, messages: int) -> Page:
    fill(site, name, messages)
    page = windows.open(site.browser(name), "/messages/")
    expect(page.locator("#connection")).to_have_text("Live.")
    return page


def card(page: Page, title: str) -> Locator:
    return page.locator(".cards > li").filter(has_text=re.compile(rf"\b{title}\b"))


def test_older_messages_can_be_reached_and_stay_in_place(site: Stack, windows: Windows) -> None:
    page = inbox(site, windows, "grace", MANY)
    titles = page.locator(".message h2")
    expect(titles).to_have_count(100)
    page.get_by_role("link", name="Older", exact=True).click()
    expect(titles).to_have_text([f"message {n}" for n in (4, 3, 2, 1, 0)])
    expect(page.locator("#connection")).to_have_text("Live.")
    page.evaluate("window.sameDocument = true")
    site.browser("alice").send_message("grace", "newest")
    expect(page.locator("#news li")).to_have_count(1)
    card(page, "message 3").get_by_role("button", name="Mark as read").click()
    expect(page.locator(".message.unread")).to_have_count(4)
    card(page, "message 2").get_by_role("button", name="Delete").click()
    expect(titles).to_have_text([f"message {n}" for n in (4, 3, 1, 0)])
    assert page.evaluate("window.sameDocument")
    page.get_by_role("link", name="Newest", exact=True).click()
    expect(titles.first).to_have_text("newest")


def test_after_delete_the_keys_go_on_with_the_next(site: Stack, windows: Windows) -> None:
    """The focus moves to the next card's button, else to the previous card's, else to the heading."""
    page = inbox(site, windows, "heidi", 3)
    delete = card(page, "message 1").get_by_role("button", name="Delete")
    delete.press("Enter")
    expect(page.get_by_role("button", name="Delete “message 0”")).to_be_focused()
    expect(page.locator("#done")).to_have_text("Deleted: message 1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Delete “message 2”")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Inbox")).to_be_focused()
    expect(page.locator("#none")).to_be_visible()


def test_the_same_button_keeps_the_focus(site: Stack, windows: Windows) -> None:
    page = inbox(site, windows, "heidi", 2)
    card(page, "message 1").get_by_role("button", name="Mark as read").press("Enter")
    expect(page.get_by_role("button", name="Mark as unread “message 1”")).to_be_focused()
    expect(page.locator("#done")).to_have_text("Marked as read: message 1")
    everything = page.get_by_role("button", name="Mark all as read")
    everything.press("Enter")
    expect(page.locator(".message.unread")).to_have_count(0)
    expect(everything).to_be_focused()
    expect(everything).to_have_attribute("aria-disabled", "true")


def test_a_deletion_elsewhere_moves_the_focus_to_the_next_message(site: Stack, windows: Windows) -> None:
    page = inbox(site, windows, "heidi", 3)
    page.get_by_role("button", name="Mark as read “message 1”").focus()
    other = windows.open(site.browser("heidi"), "/messages/")
    card(other, "message 1").get_by_role("button", name="Delete").click()
    expect(page.locator(".message")).to_have_count(2)
    expect(page.get_by_role("button", name="Mark as read “message 0”")).to_be_focused()


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_crop_that_is_cancelled_keeps_the_focus(site: Stack, windows: Windows, state: str) -> None:
    """The focus stays on the card: the button is gone, and the next one would cancel another crop."""
    site.person("ivan")
    box = "x0=0, x1=9, y0=0, y1=9, z0=0, z1=9"
    site.manage(
        "from django.contrib.auth import get_user_model as m; from volumes.models import Crop;"
        "from django.utils.timezone import now;"
        "u = m().objects.get(username='ivan'); Crop.objects.filter(owner=u).delete();"
        f"[Crop.objects.create(owner=u, volume_id={sample(site).id}, {box}, state={state!r},"
        " handed_over_at=now(), started=now()) for n in range(2)]"
    )
    page = windows.open(site.browser("ivan"), "/crops/")
    expect(page.locator("#connection")).to_have_text("Live.")
    crop = page.locator(".crop").first
    number = crop.get_attribute("data-crop")
    crop.get_by_role("button", name="Cancel").press("Enter")
    expect(crop).to_have_attribute("data-state", "cancelled")
    expect(crop).to_be_focused()
    expect(page.locator("#done")).to_have_text(f"Crop {number} is cancelled.")


def test_a_crop_that_is_deleted_is_gone_from_all_tabs(site: Stack, windows: Windows) -> None:
    kim = site.browser("kim")
    volume = sample(site)
    for x in (0, 8):
        kim.order_crop(volume.id, volume.box(x, 0, 0, 8))
    page, other = windows.open(kim, "/crops/"), windows.open(kim, "/crops/")
    for tab in (page, other):
        expect(tab.locator('.crop[data-state="done"]')).to_have_count(2)
        expect(tab.locator("#connection")).to_have_text("Live.")
    deleted, left = (crop.get_attribute("data-crop") for crop in page.locator(".crop").all())
    page.get_by_role("button", name=f"Delete crop {deleted}").press("Enter")
    for tab in (page, other):
        expect(tab.locator(".crop")).to_have_count(1)
    expect(page.get_by_role("button", name=f"Delete crop {left}")).to_be_focused()
    expect(page.locator("#done")).to_have_text(f"Crop {deleted} is deleted.")
    file = f"/var/lib/sluice/media/crops/{deleted}.tiff"
    celery = site.service("celery")
    wait_until(lambda: celery.exec("test", "!", "-e", file).code == 0, 30, "the file to go")
