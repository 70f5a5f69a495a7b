"""The delay of an update to a page: milliseconds by the layer, a second by the database."""

from __future__ import annotations

import time

from bare_metal.machine import Machine
from harness.checker import Checker
from harness.waiting import wait_until

AT_ONCE = 0.5
"""Seconds within which all arrive only by the layer. The test sends each message after the previous one
arrived, so with the database's poll, that is just after a poll.
"""


def delays(machine: Machine, count: int = 5, *, unmeasured: int = 0) -> list[float]:
    """Delays of messages sent one after another, in seconds from the sender's response to the page.

    `unmeasured`: the number of messages before them, because each Gunicorn connects to RabbitMQ at its first.
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
