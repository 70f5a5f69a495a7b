"""The queue and its thread: `put` never blocks, and both survive a fork and an exit."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sluice_updates.wakeup.background import BackgroundSender


class Gate:
    """A handler that a test can block."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.handled: list[object] = []
        self.threads: set[str] = set()

    def __call__(self, items: list[Any]) -> None:
        self.entered.set()
        self.open.wait(30)
        self.threads.add(threading.current_thread().name)
        self.handled += items


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


def test_all_items_in_order_in_one_thread(gate: Gate) -> None:
    gate.open.set()
    sender: BackgroundSender[int] = BackgroundSender("sender", gate)
    assert all(sender.put(number) for number in range(1000))
    assert sender.flush(10)
    assert gate.handled == list(range(1000)) and gate.threads == {"sender"}


def test_a_full_queue_drops_and_counts_at_once(gate: Gate) -> None:
    sender: BackgroundSender[int] = BackgroundSender("sender", gate, maxsize=5)
    sender.put(0)
    assert gate.entered.wait(10)
    began = time.perf_counter()
    assert [sender.put(number) for number in range(1, 8)] == [True] * 5 + [False] * 2
    assert sender.dropped == 2 and not sender.flush(0.01)
    assert time.perf_counter() - began < 1
    gate.open.set()
    assert sender.flush(10) and gate.handled == [0, 1, 2, 3, 4, 5]


def test_a_handler_that_fails_gets_the_next_items(caplog: pytest.LogCaptureFixture) -> None:
    handled: list[int] = []

    def handle(items: list[int]) -> None:
        handled.extend(1 // item for item in items)

    sender = BackgroundSender("fragile", handle)
    for item in (1, 0, 1):
        sender.put(item)
        assert sender.flush(10)
    assert handled == [1, 1] and sender.failed == 1 and "fragile" in caplog.text


def test_idle_is_called_between_items() -> None:
    idle = threading.Event()
    sender: BackgroundSender[int] = BackgroundSender(
        "sender", lambda items: None, idle=idle.set, idle_seconds=0.01
    )
    sender.put(1)
    assert idle.wait(5)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_has_a_queue_and_a_thread_of_its_own(gate: Gate) -> None:
    """The child does not send the parent's queue again, and a lock held at the fork blocks nothing in the
    child.
    """
    sender: BackgroundSender[str] = BackgroundSender("sender", gate)
    sender.put("the parent's")
    with sender._lock:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            gate.open.set()
            sender.put("the child's")
            sender.flush(10)
            os.write(writer, repr(gate.handled).encode())
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 1000) == b'["the child\'s"]'
    gate.open.set()
    assert sender.flush(10) and gate.handled == ["the parent's"]


@pytest.mark.parametrize(("seconds", "sent"), [(0.05, "sent\n"), (30, "")])
def test_the_exit_waits_a_little_for_what_is_queued(seconds: float, sent: str) -> None:
    script = f"""
import time
from sluice_updates.wakeup.background import BackgroundSender
def handle(items):
    time.sleep({seconds})
    print("sent", flush=True)
BackgroundSender.keep = BackgroundSender("sender", handle)
BackgroundSender.keep.put(1)
began = time.perf_counter()
import atexit
atexit._run_exitfuncs()
assert time.perf_counter() - began < 0.5
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": "app"},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.stdout, done.stderr, done.returncode) == (sent, "", 0)
