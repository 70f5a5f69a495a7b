"""Both kinds of worker: their health check is a task's round trip, and their running tasks are not lost."""

from __future__ import annotations

import contextlib
import threading

from harness.checker import Checker
from harness.client.page import Page
from harness.stack import Stack
from harness.volume import sample
from harness.waiting import wait_until

GREEN = 15  # seconds: the maximum age of a round trip
WORKERS = ("worker", "celery")


def age(stack: Stack, service: str) -> float:
    """Seconds since the last heartbeat."""
    done = stack.service(service).exec(
        "bash", "-c", f"echo $(($(date +%s) - $(stat -c %Y /tmp/{service}.alive)))"
    )
    assert done.code == 0, done.output
    return float(done.output)


def pids(stack: Stack, service: str, pattern: str) -> list[str]:
    """Processes whose command line matches, oldest first. For Celery: the worker, then its pool."""
    script = (
        'for place in /proc/[0-9]*; do tr "\\0" " " 2>/dev/null < $place/cmdline'
        f' | grep -q "{pattern}" && echo "${{place##*/}}"; done | sort -n'
    )
    return stack.service(service).exec("bash", "-c", script).output.split()


def check(stack: Stack, service: str) -> int:
    """Run the health check and return its exit status."""
    return stack.service(service).exec("heartbeat", service).code


def test_without_rabbitmq_both_stay_as_they_are_and_well(healed: Stack) -> None:
    before = {service: pids(healed, service, "[p]roject worker\\|[r]unworker") for service in WORKERS}
    healed.service("rabbitmq").stop()
    ages: list[float] = []

    def outlasted() -> bool:
        ages.extend(age(healed, service) for service in WORKERS)
        return len(ages) >= 2 * 25

    wait_until(outlasted, 60, "25 looks at both", every=1)
    assert max(ages) < GREEN, ages
    healed.service("rabbitmq").start()
    healed.service("rabbitmq").wait_healthy(60)
    ages.clear()
    wait_until(outlasted, 60, "25 looks at both", every=1)
    assert max(ages) < GREEN, ages
    assert before == {service: pids(healed, service, "[p]roject worker\\|[r]unworker") for service in WORKERS}


def test_a_frozen_pool_is_detected_and_replaced(healed: Stack) -> None:
    first, *pool = pids(healed, "celery", "[p]roject worker")
    assert pool
    done = healed.service("celery").exec("bash", "-c", f"kill -STOP {' '.join(pool)}")
    assert done.code == 0, done.output
    wait_until(lambda: check(healed, "celery") != 0, GREEN + 5, "its health check to fail")
    wait_until(
        lambda: first not in (now := pids(healed, "celery", "[p]roject worker")) and len(now) > 1,
        30,
        "another worker",
    )
    wait_until(lambda: check(healed, "celery") == 0, 30, "its health check to succeed")


def test_a_crop_whose_worker_dies_is_cut_again_and_its_owner_notified_once(healed: Stack) -> None:
    """The container dies just before the crop's end, which a table lock delays."""
    alice = healed.browser("alice")
    volume = sample(healed)
    with Checker(healed) as checker:
        [[person]] = healed.psql("SELECT id FROM auth_user WHERE username = 'alice'")
        page = checker.client("alice", streams=[f"user:{person}", "all", f"crops:{person}"])
        threading.Thread(target=_lock_messages, args=[healed], daemon=True).start()
        wait_until(lambda: _rows(healed, "query LIKE '%the_lock' AND wait_event = 'PgSleep'"), 20, "the lock")
        crop = alice.order_crop(volume.id, volume.whole)["crop_id"]
        wait_until(
            lambda: _rows(healed, "usename = 'celery' AND wait_event_type = 'Lock'"),
            60,
            "the crop's end held up",
        )
        assert alice.get(f"/crops/{crop}/").json()["state"] == "running"
        healed.service("celery")[0].crash()
        _rows(healed, "query LIKE '%the_lock' AND pg_terminate_backend(pid)")
        wait_until(lambda: alice.get(f"/crops/{crop}/").json()["state"] == "done", 90, "the crop")
        wait_until(lambda: _news(page), 10, "the message")
    assert healed.psql(f"SELECT attempts FROM volumes_crop WHERE id = {crop}") == [["2"]]
    checker.verdict().check()
    assert len(_news(page)) == 1
    said = [event.payload for event in page.ledger.arrived if event.event == "crop-progress"]
    assert [what["state"] for what in said if what["progress"] == 0 or what["state"] == "done"] == [
        "queued",
        "running",
        "running",
        "done",
    ]


def _lock_messages(stack: Stack) -> None:
    """Hold the lock until the session is terminated from elsewhere. psql then reports an error."""
    with contextlib.suppress(AssertionError):
        stack.psql("BEGIN; LOCK TABLE inbox_message IN EXCLUSIVE MODE; SELECT pg_sleep(120) AS the_lock")


def _rows(stack: Stack, where: str) -> list[list[str]]:
    """The database's sessions that match, except our own."""
    return stack.psql(f"SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND {where}")


def _news(page: Page) -> list[object]:
    return [update for update in page.ledger.arrived if update.event == "new-message"]
