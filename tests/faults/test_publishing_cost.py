"""What publishing costs a request in each state of the broker, and the commits per second of one stream.

Each round visits every state, so that the machine's other load affects all of them.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest

from faults.broker import memory_alarm
from faults.containers import call
from faults.outcome import Outcome
from harness.faults import PAUSE, TERM
from harness.stack import Stack

ROUNDS, POSTS, WAKES = 3, 100, 200  # per state and round: 300 requests and 600 wake-ups in all
BETWEEN = 0.01  # seconds between two transactions
ADDED = 1.0  # milliseconds: PROTOCOL's limit for what a wake-up costs a request
NOISE = 15.0  # milliseconds between medians of whole requests on a busy machine; a stall is longer
STALL = 1000.0  # milliseconds: the sender's shortest wait for a broker
WRITERS, SECONDS, COMMITS = 8, 10.0, 500

Costs = dict[str, list[float]]


STATES: dict[str, Callable[[Stack], AbstractContextManager[object]]] = {
    "up": lambda stack: nullcontext(),
    "stopped": lambda stack: TERM(stack.service("rabbitmq")),
    "paused": lambda stack: PAUSE(stack.service("rabbitmq")),
    "in alarm": memory_alarm,
}


@pytest.mark.timeout(900, func_only=True)
def test_publishing_costs_the_same_whatever_the_broker_does(fresh: Stack, outcome: Outcome) -> None:
    outcome.describe("RabbitMQ stopped, frozen or in alarm: time of a POST (p99)", "None.")
    requests: Costs = defaultdict(list)
    inside: dict[str, Costs] = {state: defaultdict(list) for state in STATES}
    for _ in range(ROUNDS):
        for state, trouble in STATES.items():
            with trouble(fresh):
                requests[state] += post(fresh)
                measured = call(fresh, "wsgi", "cost_of_waking", WAKES, BETWEEN)
            fate = "announced" if state == "up" else "skipped"
            assert measured["sender"][fate] > WAKES / 2, f"{state}: {measured['sender']}"
            for what, costs in measured["costs"].items():
                inside[state][what] += costs
            fresh.service("rabbitmq").wait_healthy()
    for state in STATES:
        print(f"\nbroker {state}: POST messages/ {figures(requests[state])}")
        outcome.measured(state, quantile(requests[state], 0.99) / 1000)
        for what, costs in inside[state].items():
            print(f"    in the process, {what}: {figures(costs)}")
    for state in STATES:
        assert quantile(inside[state]["wake"], 0.99) <= ADDED, state
        added = quantile(inside[state]["announced"], 0.5) - quantile(inside[state]["not announced"], 0.5)
        assert added <= ADDED, f"{state}: {added:.3f} ms"
        assert quantile(requests[state], 0.5) <= quantile(requests["up"], 0.5) + NOISE, state
        assert quantile(requests[state], 0.99) < STALL, state


def test_commits_per_second_on_one_stream(fresh: Stack, outcome: Outcome) -> None:
    """The best of three rounds, which is the least affected by the machine's other load."""
    outcome.describe("eight writers on one stream, each at full speed (seconds per commit)", "None.")
    rates = [call(fresh, "wsgi", "commits_per_second", WRITERS, SECONDS)["rate"] for _ in range(3)]
    print(f"\none stream, {WRITERS} writers: {', '.join(f'{rate:.0f}' for rate in rates)} commits/s")
    outcome.measured("one commit", 1 / max(rates))
    assert max(rates) >= COMMITS


def post(stack: Stack) -> list[float]:
    """Durations of consecutive POSTs in milliseconds."""
    alice = stack.browser("alice")
    alice.send_message("alice", "first")  # opens the connection
    taken = []
    for number in range(POSTS):
        began = time.perf_counter()
        alice.send_message("alice", f"message {number}")
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def quantile(values: list[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def figures(values: list[float]) -> str:
    """Median, p99, maximum and number of the values, as text."""
    p50, p99, worst = (quantile(values, share) for share in (0.5, 0.99, 1))
    return f"p50 {p50:.3f} ms, p99 {p99:.3f} ms, worst {worst:.3f} ms of {len(values)}"
