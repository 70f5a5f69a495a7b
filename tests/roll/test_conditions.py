"""`make roll` applies new settings, replaces the whole application in order, and changes nothing if a
replacement fails.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from harness.checker import Checker
from harness.rolling import RollFailed, roll
from harness.stack import Stack
from harness.volume import sample
from harness.waiting import wait_until
from roll.watching import busy, containers, failed_posts, go_on, pages, replaced


def test_the_whole_application_one_after_the_other(healed: Stack) -> None:
    """As in an upgrade: the containers that hold data stay."""
    before = containers(healed)
    with Checker(healed) as checker:
        busy(checker)
        said = roll(healed)
        checker.online()
        go_on(checker)
    checker.verdict(deadline=30).check()
    order = re.findall(r"==> Replacing (\w+)", said)
    assert order == ["worker", "celery", "asgi", "wsgi", "beat", "nginx"]
    assert replaced(before, containers(healed)) == set(order)


def test_replaced_containers_use_the_new_settings(healed: Stack) -> None:
    with settings(healed, POLL_SECONDS="17"):
        roll(healed, "wsgi")
        assert "POLL_SECONDS=17" in healed.service("wsgi")[0].inspect()["Config"]["Env"]


def test_current_and_waiting_crops_are_finished(healed: Stack) -> None:
    alice, volume = healed.browser("alice"), sample(healed)
    crops = [alice.order_crop(volume.id, volume.whole)["crop_id"] for _ in range(3)]
    roll(healed, "celery")
    for crop in crops:
        wait_until(lambda c=crop: alice.get(f"/crops/{c}/").json()["state"] == "done", 60, f"crop {crop}")  # type: ignore[misc]
        assert healed.psql(f"SELECT count(*) FROM sluice_updates_update WHERE key = 'crop-{crop}-ended'") == [
            ["1"]
        ]


@pytest.mark.parametrize(
    ("service", "wrong"),
    [("asgi", {"LOG_LEVEL": "loud"}), ("wsgi", {"WSGI_THREADS": "many"}), ("nginx", {"MAX_CLIENTS": "many"})],
    ids=["asgi", "wsgi", "nginx"],
)
def test_the_old_one_stays_if_the_new_one_is_not_healthy(
    healed: Stack, service: str, wrong: dict[str, str]
) -> None:
    before = containers(healed)
    (name,) = wrong
    with Checker(healed) as checker, pages(healed) as asking:
        busy(checker)
        with settings(healed, **wrong), pytest.raises(RollFailed) as refused:
            roll(healed, service)
        go_on(checker)
    report = checker.verdict().check()
    asking.assert_clean()
    assert failed_posts(report.counts) == {}
    assert replaced(before, containers(healed)) == set()
    assert re.search(rf"sluice: \S+, the replacement, isn't healthy .*{service} stays", str(refused.value))
    assert name in str(refused.value)  # the new container's own message


@pytest.mark.parametrize(
    ("service", "sentence"),
    [
        ("daphne", r"no service 'daphne'.*worker celery asgi wsgi beat nginx"),
        ("postgres", r"docker compose up -d --no-deps postgres"),
        ("migrate", r"docker compose run --rm --no-deps migrate"),
    ],
)
def test_services_that_make_roll_refuses(healed: Stack, service: str, sentence: str) -> None:
    with pytest.raises(RollFailed, match=sentence):
        roll(healed, service)


def test_a_service_that_is_not_up(healed: Stack) -> None:
    healed.service("worker").stop()
    with pytest.raises(RollFailed, match=r"worker doesn't run here: `make up` starts it"):
        roll(healed, "worker")
    healed.service("worker").start()


@contextmanager
def settings(stack: Stack, **changed: str) -> Iterator[None]:
    """Add these settings to the stack's `.env` during the block."""
    stack.compose.write_env(stack.settings | changed)
    try:
        yield
    finally:
        stack.compose.write_env(stack.settings)
