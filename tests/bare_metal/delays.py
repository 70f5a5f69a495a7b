"""How long an update takes to a page: by the layer milliseconds, by way of the database a second."""

from __future__ import annotations

import time

from bare_metal.machine import Machine
from harness.checker import Checker
from harness.waiting import wait_until

AT_ONCE = 0.5
"""Seconds within which all of them come, and only by the layer: each is sent when the one before has come,
and that is just after a poll of the database if that found it.
"""


def delays(machine: Machine, count: int = 5, *, unmeasured: int = 0) -> list[float]:
    """Of messages sent one after another: seconds from the answer to the sender until a page has it.
    `unmeasured`: so many before them, with the first of which each Gunicorn connects to RabbitMQ.
    """
    found: list[float] = []
    with Checker(machine) as checker:
        page = checker.client("bob")
        alice = machine.browser("alice")
        for number in range(unmeasured + count):
            alice.send_message("bob", f"number {number}")
            answered = time.monotonic()
            wait_until(lambda: len(page.ledger.arrived) > len(found), 10, "the message", every=0.01)
            found.append(page.ledger.arrived[-1].at - answered)
    checker.verdict().check()
    return found[unmeasured:]
