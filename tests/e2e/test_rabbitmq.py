"""Without RabbitMQ everything starts, nothing is slower, and queued work runs when RabbitMQ is back."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import requests

from harness.checker import Checker
from harness.site import Browser
from harness.stack import SERVICES, Stack
from harness.volume import sample
from harness.waiting import wait_until

BY_THE_DATABASE = 2.0  # seconds (PROTOCOL: How a server learns of a commit)
HANDSHAKE = 3.0
PAGES = ("/", "/messages/", "/volumes/", "/updates/", "/readyz", "/accounts/login/")


@pytest.fixture(scope="module")
def brokerless(image_tag: str) -> Iterator[Stack]:
    """A stack whose RabbitMQ was never started."""
    stack = Stack(image_tag)
    try:
        stack.boot(*(name for name in SERVICES if name != "rabbitmq"))
        yield stack
    finally:
        stack.close()


def test_everything_starts_without_it(brokerless: Stack) -> None:
    for name in SERVICES:
        if name != "rabbitmq":
            assert brokerless.service(name)[0].healthy, name
    ready = requests.get(f"{brokerless.origin}/readyz", timeout=10)
    assert ready.status_code == 200 and "degraded" in ready.text


def test_handshakes_are_answered_and_pushes_come_by_way_of_the_database(brokerless: Stack) -> None:
    alice = brokerless.browser("alice")
    with Checker(brokerless) as checker:
        for transport in ("websocket", "sse"):
            checker.client("bob", transport, deadline=HANDSHAKE)
        for number in range(10):
            seen, sent = checker.arrived(), time.monotonic()
            alice.send_message("bob", f"number {number}")
            wait_until(lambda: checker.arrived() == seen + 2, 10, "the message", every=0.01)  # noqa: B023
            assert time.monotonic() - sent <= BY_THE_DATABASE
    checker.verdict().check()


def test_pages_and_posts_are_as_fast_as_with_it_and_a_crop_runs_when_it_is_back(brokerless: Stack) -> None:
    alice = brokerless.browser("alice")
    brokerless.person("bob")
    volume = sample(brokerless)
    without = medians(alice, volume.id)
    crop = alice.order_crop(volume.id, volume.box(0, 0, 0))["crop_id"]
    brokerless.up("rabbitmq")
    wait_until(
        lambda: alice.get(f"/crops/{crop}/").json()["state"] == "done", 90, "the accepted crop", every=0.5
    )
    having = medians(alice, volume.id)
    brokerless.service("rabbitmq").stop()
    stopped = medians(alice, volume.id)
    slower = {
        name: (having[name], measured[name])
        for measured in (without, stopped)
        for name in having
        if measured[name] > 1.5 * having[name] + 0.01
    }
    assert not slower, f"seconds with RabbitMQ and without: {slower}"
    print({name: f"{1000 * value:.1f} ms" for name, value in having.items()})


def test_a_crop_ordered_while_it_is_stopped_is_pushed_when_it_is_back(brokerless: Stack) -> None:
    brokerless.service("rabbitmq").stop()
    alice = brokerless.browser("alice")
    with Checker(brokerless) as checker:
        page = checker.client("alice")
        alice.order_crop(sample(brokerless).id, sample(brokerless).box(0, 0, 0))
        brokerless.up("rabbitmq")
        wait_until(lambda: page.ledger.arrived, 90, "the crop's message")
        # Crops ordered by other tests are pushed too, so read the table only after all have ended.
        wait_until(lambda: not _open_crops(brokerless), 60, "all crops to end")
    checker.verdict().check()


def _open_crops(stack: Stack) -> int:
    [[count]] = stack.psql("SELECT count(*) FROM volumes_crop WHERE state IN ('queued', 'running')")
    return int(count)


def medians(browser: Browser, volume: int, rounds: int = 15) -> dict[str, float]:
    """Seconds per page and POST: the median of `rounds` requests each, in turn."""
    box = {axis: [0, 4] for axis in "xyz"}
    asked: dict[str, Callable[[], requests.Response]] = {path: partial(browser.get, path) for path in PAGES}
    asked["POST /messages/"] = lambda: browser.post(
        "/messages/", {"to": "bob", "title": "fast?", "text": "…"}
    )
    asked["POST crops/"] = lambda: browser.post(f"/volumes/{volume}/crops/", {"box": box})
    taken: dict[str, list[float]] = {name: [] for name in asked}
    for _ in range(rounds):
        for name, ask in asked.items():
            began = time.monotonic()
            answer = ask()
            taken[name].append(time.monotonic() - began)
            assert answer.status_code < 400, f"{name}: {answer.status_code} {answer.text[:200]}"
    return {name: statistics.median(times) for name, times in taken.items()}
