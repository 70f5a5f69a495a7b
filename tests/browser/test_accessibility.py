"""Every page by axe-core's rules: the accessibility mistakes that a program can find."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from harness.accessibility import mistakes
from harness.chromium import Windows
from harness.stack import Stack
from harness.volume import sample

# Messages read and unread, with a link and a sender, more than fit a page; crops in every state.
_FILL = """
from django.contrib.auth import get_user_model
from django.utils.timezone import now
from inbox.models import Message
from volumes.models import Crop
judy = get_user_model().objects.get(username="judy")
Message.objects.filter(recipient=judy).delete()
old = [Message(recipient=judy, title=f"Old {n}", text="One.", read=n % 2 == 0) for n in range(99)]
Message.objects.bulk_create(old)
Message.objects.create(recipient=judy, title="A crop is ready", text="One.", link="crops/1/download/")
Message.objects.create(recipient=judy, sender=judy, title="To myself", text="One.")
Crop.objects.filter(owner=judy).delete()
box = dict(x0=0, x1=9, y0=0, y1=9, z0=0, z1=9)
for state in Crop.State.values:
    Crop.objects.create(
        owner=judy, volume_id={volume}, state=state, error="Why." if state == "failed" else "", **box,
        handed_over_at=now(), started=now(), finished=None if state in Crop.OPEN else now()
    )
"""
PAGES = (
    "/volumes/",
    "/volumes/{volume}/",
    "/crops/",
    "/crops/?before=1",
    "/messages/",
    "/messages/?before=1",  # an empty page
    "/messages/?before=999999999",  # a full page
    "/messages/?before=nothing",
    "/messages/new/",
    "/connection/",
    "/nowhere/",
)


@pytest.fixture
def judy(site: Stack) -> str:
    """A user with messages and crops of every kind."""
    site.person("judy")
    site.manage(_FILL.replace("{volume}", str(sample(site).id)))
    return "judy"


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest, windows: Windows) -> str:
    # Chromium's own messages, about pages with such a status
    windows.expect_complaints(r"status of 4(00|04|22)")
    return str(request.param)


@pytest.fixture
def page(site: Stack, windows: Windows, judy: str, scheme: str) -> Page:
    """A page in a window of judy's."""
    return prepared(windows.window(site.browser(judy)), scheme)


def prepared(window: BrowserContext, scheme: str) -> Page:
    """A new page without animations, because axe-core would judge the colours of half-faded elements."""
    page = window.new_page()
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
    return page


def test_every_page(site: Stack, page: Page) -> None:
    found = []
    for path in PAGES:
        page.goto(site.url + path.format(volume=sample(site).id))
        found += mistakes(page)
    assert not found, "\n".join(found)


def test_a_page_on_which_something_has_happened(site: Stack, page: Page) -> None:
    """A new message's announcement, the result of a button, the preview of the box."""
    page.goto(f"{site.url}/messages/")
    expect(page.locator("#connection")).to_have_text("Live.")
    site.browser("judy").send_message("judy", "News")
    page.get_by_role("button", name="Delete “To myself”").press("Enter")
    expect(page.locator("#news li")).to_have_count(1)
    expect(page.locator("#done")).not_to_be_empty()
    found = mistakes(page)
    page.goto(f"{site.url}/volumes/{sample(site).id}/")
    expect(page.locator("#preview")).to_be_visible()
    page.locator("#viewer-help summary").click()
    found += mistakes(page)
    assert not found, "\n".join(found)


def test_forms_with_mistakes(site: Stack, page: Page) -> None:
    page.goto(f"{site.url}/messages/new/")
    page.get_by_label("To").fill("nobody at all")
    page.get_by_label("Title").fill("x")
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_be_visible()
    found = mistakes(page)
    page.goto(f"{site.url}/volumes/{sample(site).id}/")
    page.locator("#id_x0").fill("9")
    page.locator("#id_x1").fill("8")
    page.get_by_role("button", name="Order the crop").click()
    expect(page.get_by_role("alert")).to_be_visible()
    found += mistakes(page)
    assert not found, "\n".join(found)


def test_signing_in(site: Stack, windows: Windows, scheme: str) -> None:
    page = prepared(windows.window(), scheme)
    page.goto(f"{site.url}/accounts/login/")
    found = mistakes(page)
    page.get_by_label("Name").fill("judy")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_be_visible()
    found += mistakes(page)
    assert not found, "\n".join(found)


def test_the_check_finds_mistakes(site: Stack, page: Page) -> None:
    """It reports an image without a text alternative and a text of low contrast, so a clean page has
    neither.
    """
    page.goto(f"{site.url}/volumes/")
    page.evaluate(
        """() => {
            document.querySelector("main").append(new Image());
            document.querySelector("h1").style.color = "#888";
            document.querySelector("h1").style.fontSize = "1rem";
            document.querySelector("h1").style.background = "#777";
        }"""
    )
    rules = {mistake.split(": ")[1].partition(" ")[0] for mistake in mistakes(page)}
    assert {"image-alt", "color-contrast"} <= rules
