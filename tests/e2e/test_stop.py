"""Stopping: every process exits with 0 within its grace period, with connected clients and running tasks."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TypeGuard

import pytest

from harness.checker import Checker
from harness.client.ledger import Ended, Entry
from harness.faults import PAUSE
from harness.service import Replica
from harness.stack import Stack
from harness.volume import sample
from harness.waiting import wait_until


def test_each_service_ends_with_0_before_its_grace_is_over(healed: Stack, service: str) -> None:
    replica = healed.service(service)[0]
    with Checker(healed) as checker:
        checker.clients("bob", transports=("websocket", "sse"))
        writer = checker.writer("alice", to="bob", rate=10)
        wait_until(lambda: checker.arrived() >= 10, 20, "updates on their way")
        began = time.monotonic()
        code = replica.stop()
        took = time.monotonic() - began
        writer.stop()
        replica.start()
    checker.close()
    assert code == 0 and took < replica.grace - 2, f"exit code {code} after {took:.1f} of {replica.grace} s"


@pytest.mark.parametrize("standing", ["rabbitmq", "postgres"])
def test_each_service_exits_with_0_while_the_broker_or_the_database_is_frozen(
    healed: Stack, standing: str
) -> None:
    """Stop all services at the same time, as `docker compose down` does. A container's exit status is that of
    its program.
    """
    names = ("nginx", "wsgi", "asgi", "worker", "celery", "beat")
    replicas = [healed.service(name)[0] for name in names]

    def stop(replica: Replica) -> tuple[int, bool]:
        began = time.monotonic()
        return replica.stop(), time.monotonic() - began < replica.grace - 2

    with Checker(healed) as checker:
        checker.clients("bob", transports=("websocket", "sse"))
        with PAUSE(healed.service(standing)), ThreadPoolExecutor(len(replicas)) as pool:
            ends = dict(zip(names, pool.map(stop, replicas), strict=True))
        healed.service(standing).wait_healthy()
    checker.close()
    assert ends == dict.fromkeys(names, (0, True))


def test_daphne_closes_its_clients_with_1012(healed: Stack) -> None:
    with Checker(healed) as checker:
        pages = checker.clients("bob", transports=("websocket", "sse"))
        began = time.monotonic()
        assert healed.service("asgi")[0].stop() == 0
        ends = [[entry.code for entry in page.ledger.entries if _ended_after(entry, began)] for page in pages]
        healed.service("asgi").start()
    checker.close()
    assert [codes[:1] for codes in ends] == [[1012], [1012]]


def test_celery_finishes_the_current_crop(healed: Stack) -> None:
    alice = healed.browser("alice")
    volume = sample(healed)
    crop = alice.order_crop(volume.id, volume.whole)["crop_id"]
    wait_until(
        lambda: alice.get(f"/crops/{crop}/").json()["state"] != "queued", 30, "the crop begun", every=0.02
    )
    assert healed.service("celery")[0].stop() == 0
    assert alice.get(f"/crops/{crop}/").json()["state"] == "done"


def test_compose_down_and_up_keeps_what_was_stored(healed: Stack) -> None:
    alice, bob = healed.browser("alice"), healed.browser("bob")
    message = alice.send_message("bob", "still here")
    healed.compose.run("down", deadline=180)
    healed.up()
    found = bob.get("/messages/", headers={"Accept": "application/json"})
    assert str(message) in found.text and "still here" in found.text


def _ended_after(entry: Entry, moment: float) -> TypeGuard[Ended]:
    return isinstance(entry, Ended) and entry.at >= moment
