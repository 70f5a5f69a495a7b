"""RabbitMQ outages, and its messages dropped, duplicated, reordered and delayed: updates still arrive within
two seconds, once and in order, and requests notice nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from faults.broker import (
    Courier,
    Policy,
    Trouble,
    connections_closed,
    delayed,
    disk_alarm,
    doubled,
    dropped,
    memory_alarm,
    reordered,
    stopped,
    wiped,
)
from faults.outcome import Outcome
from faults.trial import Trial
from harness.baseline import Baseline
from harness.stack import Stack

LATER = "Updates arrive up to a second later, and crops wait; everything else works as usual."
NOTHING = "None, except that some updates arrive up to a second later."
TROUBLES: tuple[tuple[str, Trouble, float, str, str], ...] = (
    ("stopped", stopped, 60, "RabbitMQ stopped for 60 s", LATER),
    ("wiped", wiped, 5, "RabbitMQ recreated with an empty volume", LATER),
    ("memory-alarm", memory_alarm, 10, "RabbitMQ in memory alarm for 10 s", LATER),
    ("disk-alarm", disk_alarm, 10, "RabbitMQ in disk alarm for 10 s", LATER),
    ("closed", connections_closed, 5, "all connections to RabbitMQ closed with rabbitmqctl", NOTHING),
)
MESSAGES: tuple[tuple[str, Callable[[], Policy], str], ...] = (
    ("dropped", lambda: dropped, "every wake-up lost on the layer, for 8 s"),
    ("doubled", lambda: doubled, "every wake-up duplicated on the layer, for 8 s"),
    ("reordered", reordered, "every other wake-up overtakes the one before it, for 8 s"),
    ("delayed", lambda: delayed, "every wake-up three seconds late, for 8 s"),
)
AWHILE = 8.0  # seconds; there are as many wake-ups as POSTs, twenty a second


@pytest.mark.parametrize(
    ("trouble", "seconds", "fault", "notice"),
    [pytest.param(*case[1:], id=case[0]) for case in TROUBLES],
)
def test_without_it_updates_are_live(
    standing: Stack,
    baseline: Baseline,
    outcome: Outcome,
    trouble: Trouble,
    seconds: float,
    fault: str,
    notice: str,
) -> None:
    outcome.describe(fault, notice)
    with Trial(standing, outcome) as trial:
        with trouble(standing):
            trial.hold(seconds)
        trial.over()
    trial.closes(baseline)
    trial.answered()
    trial.live()


@pytest.mark.parametrize(("policy", "fault"), [pytest.param(*case[1:], id=case[0]) for case in MESSAGES])
def test_what_becomes_of_messages_changes_nothing(
    standing: Stack, baseline: Baseline, outcome: Outcome, policy: Callable[[], Policy], fault: str
) -> None:
    outcome.describe(fault, NOTHING)
    with Trial(standing, outcome) as trial:
        with Courier(standing, policy()) as courier:
            trial.hold(AWHILE)
        trial.over()
    trial.closes(baseline)
    trial.answered()
    trial.live()
    assert courier.carried > AWHILE * 5, f"the courier carried only {courier.carried} wake-ups"
