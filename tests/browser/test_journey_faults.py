"""Pages while parts of the stack are down: they end in the right state, with nothing lost or duplicated."""

from __future__ import annotations

import subprocess
from contextlib import suppress

import pytest
from playwright.sync_api import Page, expect

from harness.chromium import Windows
from harness.faults import TERM
from harness.stack import Stack
from harness.volume import sample

from .conftest import POLL_SECONDS

SOON = 30_000  # milliseconds
POLLING = f"Not connected; polling every {POLL_SECONDS} s."

# Records the updates of the page's own connection.
_LISTEN = """async () => {
    const { updates } = await import(document.querySelector('script[src*="mysite/live"]').src);
    window.came = [];
    updates.on("new-message", ({ message_title }) => window.came.push(message_title));
}"""


@pytest.fixture
def inbox(breakable: Stack, windows: Windows, request: pytest.FixtureRequest) -> Page:
    """A new user's inbox, live."""
    breakable.wait_healthy()
    windows.expect_complaints()
    page = windows.open(breakable.browser(name(request)), "/messages/")
    expect(page.locator("#connection")).to_have_text("Live.", timeout=SOON)
    page.evaluate(_LISTEN)
    return page


@pytest.fixture
def recipient(request: pytest.FixtureRequest) -> str:
    return name(request)


def name(request: pytest.FixtureRequest) -> str:
    return f"of_{request.node.name[:60]}"


def send(stack: Stack, recipient: str, titles: list[str]) -> None:
    for title in titles:
        stack.browser("alice").send_message(recipient, title)


def expect_exactly(page: Page, titles: list[str]) -> None:
    """Assert that the list, the count and the received updates contain each of them once, in order."""
    expect(page.locator(".message h2")).to_have_text(titles[::-1], timeout=SOON)
    expect(page).to_have_title(f"({len(titles)}) Inbox · Sluice")
    # The list may show a message before its update arrives with the next poll.
    page.wait_for_function("count => window.came.length >= count", arg=len(titles), timeout=SOON)
    assert page.evaluate("window.came") == titles


def _goes_on(process: subprocess.Popen[str]) -> bool:
    """Whether the process still runs a moment from now. A page shows at most a hundred messages."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(0.25)
    return process.poll() is None


def test_without_channels_the_page_asks(breakable: Stack, inbox: Page, recipient: str) -> None:
    with TERM(breakable.service("asgi")):
        expect(inbox.locator("#connection")).to_have_text(POLLING, timeout=SOON)
        send(breakable, recipient, ["while it polls 1", "while it polls 2"])
        expect_exactly(inbox, ["while it polls 1", "while it polls 2"])
    send(breakable, recipient, ["and then"])
    expect(inbox.locator("#connection")).to_have_text("Live.", timeout=SOON)
    send(breakable, recipient, ["live again"])
    expect_exactly(inbox, ["while it polls 1", "while it polls 2", "and then", "live again"])


def test_rabbitmq_stopped_and_started(breakable: Stack, inbox: Page, recipient: str) -> None:
    send(breakable, recipient, ["before"])
    with TERM(breakable.service("rabbitmq")):
        send(breakable, recipient, ["without a broker 1", "without a broker 2"])
        expect_exactly(inbox, ["before", "without a broker 1", "without a broker 2"])
        expect(inbox.locator("#connection")).to_have_text("Live.")
    breakable.service("rabbitmq").wait_healthy(60)
    send(breakable, recipient, ["after"])
    expect_exactly(inbox, ["before", "without a broker 1", "without a broker 2", "after"])


def test_daphne_replaced(breakable: Stack, inbox: Page, recipient: str) -> None:
    send(breakable, recipient, ["before"])
    replacing = breakable.compose.start(
        "up", "--detach", "--no-build", "--no-deps", "--force-recreate", "asgi"
    )
    titles = ["before"]
    while _goes_on(replacing):
        titles.append(f"meanwhile {len(titles)}")
        send(breakable, recipient, titles[-1:])
    assert replacing.returncode == 0, replacing.communicate()[0]
    expect(inbox.locator("#connection")).to_have_text("Live.", timeout=SOON)
    send(breakable, recipient, ["after"])
    expect_exactly(inbox, [*titles, "after"])


def test_gunicorn_away_when_the_update_comes(breakable: Stack, inbox: Page, recipient: str) -> None:
    """The update arrives through Daphne at once, while the page can't load the message yet."""
    with TERM(breakable.service("wsgi")):
        breakable.manage(
            "from django.contrib.auth import get_user_model as m; from inbox.sending import send;"
            f"send(m().objects.get(username={recipient!r}), 'from elsewhere')",
            "celery",
        )
        expect(inbox.locator("#news")).to_contain_text("from elsewhere", timeout=SOON)
        expect(inbox.locator(".message h2")).to_have_count(0)
    expect_exactly(inbox, ["from elsewhere"])


def test_a_burst_of_updates_is_no_burst_of_requests(breakable: Stack, inbox: Page, recipient: str) -> None:
    asked: list[str] = []
    inbox.on("request", lambda request: asked.append(request.url))
    breakable.manage(
        "from django.contrib.auth import get_user_model as m; from inbox.sending import send\n"
        f"for number in range(40): send(m().objects.get(username={recipient!r}), f'number {{number}}')"
    )
    expect_exactly(inbox, [f"number {number}" for number in range(40)])
    assert len(asked) <= 24, asked  # for the page and for the count


def test_a_slice_that_failed_is_requested_again(breakable: Stack, windows: Windows) -> None:
    breakable.wait_healthy()
    windows.expect_complaints()
    page = windows.open(breakable.browser("heidi"), f"/volumes/{sample(breakable).id}/")
    pane = page.locator('.pane[data-axis="z"]')
    ready = pane.locator("canvas:not([data-busy])")
    expect(ready).to_be_visible(timeout=SOON)
    page.route("**/slices/**", lambda route: route.abort())
    pane.locator("input").fill("20")
    expect(page.locator("#viewer-trouble")).to_contain_text("can't be reached", timeout=SOON)
    expect(ready).to_have_count(0)
    page.unroute("**/slices/**")
    expect(ready).to_be_visible(timeout=SOON)
    expect(page.locator("#viewer-trouble")).to_be_empty()


def test_a_crop_that_waits_is_cancelled_in_all_windows(breakable: Stack, windows: Windows) -> None:
    breakable.wait_healthy()
    grace = breakable.browser("grace")
    with TERM(breakable.service("celery")):
        grace.order_crop(sample(breakable).id, sample(breakable).box(0, 0, 0))
        here, there = windows.open(grace, "/crops/"), windows.open(grace, "/crops/")
        for page in (here, there):
            expect(page.locator("#connection")).to_have_text("Live.")
            expect(page.locator(".crop")).to_have_attribute("data-state", "queued")
        here.get_by_role("button", name="Cancel crop").click()
        for page in (here, there):
            expect(page.locator(".crop")).to_have_attribute("data-state", "cancelled")
    breakable.service("celery").wait_healthy(60)
    other = grace.order_crop(sample(breakable).id, sample(breakable).box(0, 0, 0))["crop_id"]
    expect(there.locator(f"#crop-{other}")).to_have_attribute("data-state", "done", timeout=SOON)
    expect(there.locator(".crop").last).to_have_attribute("data-state", "cancelled")


def test_the_connections_page_says_what_is_wrong(breakable: Stack, windows: Windows) -> None:
    breakable.wait_healthy()
    windows.expect_complaints()
    page = windows.open(breakable.browser("heidi"), "/connection/")
    expect(page.locator("#verdict")).to_have_text("Updates arrive at once.")
    expect(page.locator("#server-verdict")).to_have_text("All parts work.")
    with TERM(breakable.service("asgi")):
        expect(page.locator("#verdict")).to_contain_text(f"every {POLL_SECONDS} seconds", timeout=SOON)
        expect(page.locator("#advice-text")).to_contain_text("Daphne is not there", timeout=SOON)
        expect(page.locator("#advice-setting")).to_contain_text("asgi")
        page.get_by_role("button", name="Check again").click()
        expect(page.locator("#server-verdict")).to_have_text("There is a problem with: Daphne.", timeout=SOON)
    expect(page.locator("#verdict")).to_have_text("Updates arrive at once.", timeout=60_000)
    expect(page.locator("#advice")).to_be_hidden()
