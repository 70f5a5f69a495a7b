"""The time from a POST, or the order of a crop, to the browser's socket, all through nginx."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from harness.checker import Checker
from harness.client.page import Page
from harness.engine import engine
from harness.figures import row
from harness.site import Browser
from harness.stack import Stack
from harness.volume import sample
from harness.waiting import wait_until

MESSAGES, RATE = 1000, 20.0
CROPS, EDGE = 200, 64
WARM_UP = 50


@pytest.fixture(scope="module")
def quiet(image_tag: str) -> Iterator[Stack]:
    """A stack with an operator's default settings."""
    with Stack(image_tag, {"EXPOSE_BACKEND": "no"}) as stack:
        yield stack


@pytest.mark.timeout(600, func_only=True)
def test_message_to_browser(quiet: Stack, table: list[str]) -> None:
    """Open loop: messages are sent on schedule, however long the last one took, and each is timed from its
    scheduled moment.
    """
    alice = quiet.browser("alice")
    with Checker(quiet) as checker, ThreadPoolExecutor(32) as pool:
        page = checker.client("bob")
        _send(pool, alice, page, WARM_UP, "warm-up")
        due = _send(pool, alice, page, MESSAGES, "message")
    checker.verdict().check()
    taken = [
        1000 * (update.at - due[update.payload["message_title"]])
        for update in page.ledger.arrived
        if update.payload["message_title"] in due
    ]
    assert len(taken) == MESSAGES
    table.append(row(f"message, POST to browser, {RATE:g}/s", taken))


@pytest.mark.timeout(600, func_only=True)
def test_crop_to_browser(quiet: Stack, table: list[str]) -> None:
    """One crop after another, as one person works: from the POST to the message that the crop is done."""
    alice = quiet.browser("alice")
    volume = sample(quiet)
    spans = [size - EDGE for size in volume.size]
    taken = []
    with Checker(quiet) as checker:
        page = checker.client("alice")
        for number in range(CROPS + 5):
            x, y, z = (number * step % span for step, span in zip((7, 11, 13), spans, strict=True))
            began = time.monotonic()
            alice.order_crop(volume.id, volume.box(x, y, z, EDGE))
            wait_until(partial(_has, page, number + 1), 30, "the crop", every=0.002)
            taken.append(1000 * (page.ledger.arrived[number].at - began))
    checker.verdict().check()
    table.append(row(f"crop of {EDGE}³, POST to browser", taken[5:]))


def test_image_sizes(image_tag: str, table: list[str]) -> None:
    """The sizes in `docker image ls`. The sum counts shared layers once."""
    images = [
        engine().images.get(f"sluice-{name}:{image_tag}")
        for name in ("wsgi", "asgi", "worker", "nginx", "rabbitmq", "postgres")
    ]
    for image in images:
        name = image.tags[0].split(":")[0]
        table.append(f"| image {name} | {image.attrs['Size'] / 1e6:.0f} MB | | | | `docker image ls` |")


def _has(page: Page, count: int) -> bool:
    return len(page.ledger.arrived) >= count


def _send(pool: ThreadPoolExecutor, browser: Browser, page: Page, count: int, word: str) -> dict[str, float]:
    """Send on schedule, and return each title's scheduled moment, after all have arrived."""
    seen = len(page.ledger.arrived)
    begin = time.monotonic() + 0.1
    due = {f"{word} {number}": begin + number / RATE for number in range(count)}
    posts: list[Future[int]] = []
    schedule = threading.Event()  # never set: used as a clock
    for title, moment in due.items():
        schedule.wait(max(0.0, moment - time.monotonic()))
        posts.append(pool.submit(browser.send_message, "bob", title))
    for post in posts:
        post.result(30)
    wait_until(lambda: len(page.ledger.arrived) >= seen + count, 30, "the last message", every=0.01)
    return due
