"""Daphnes are replaced one by one, ten times in a row, as in a deployment."""

from __future__ import annotations

import time

import pytest

from faults.outcome import Outcome
from faults.trial import SOON, Trial
from harness.baseline import Baseline
from harness.client.ledger import Ended
from harness.stack import Stack

TIMES = 10
RESTART = 1012


@pytest.mark.timeout(600, func_only=True)
def test_ten_rolling_replacements(standing: Stack, baseline: Baseline, outcome: Outcome) -> None:
    outcome.describe(
        "asgi replaced, one of two at a time, ten times in a row",
        "Each time, half of the sockets are closed with 1012 and reconnect to the other Daphne.",
    )
    with Trial(standing, outcome) as trial:
        begin = time.monotonic()
        for _ in range(TIMES):
            oldest = min(standing.service("asgi"), key=lambda replica: replica.state["StartedAt"])
            assert oldest.stop() == 0
            oldest.container.remove()
            standing.up("asgi", scale={"asgi": 2}, options=("--no-recreate", "--no-deps"))
        trial.held = (begin, time.monotonic())
        trial.over(SOON)
    trial.closes(baseline)
    trial.answered()
    trial.live(("polling",))
    codes = {
        entry.code
        for page in trial.staying
        if page.transport != "polling"
        for entry in page.ledger.entries
        if isinstance(entry, Ended)
    }
    assert codes == {RESTART}, codes
    back = [
        after.at - before.at
        for page in trial.staying
        for before, after in zip(page.ledger.entries, page.ledger.entries[1:], strict=False)
        if isinstance(before, Ended) and before.code == RESTART
    ]
    outcome.measured("between a close and the next attempt", max(back))
