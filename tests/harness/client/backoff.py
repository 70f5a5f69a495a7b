"""When to reconnect: PROTOCOL.md's table of close codes and its back-off."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

NOT_BEFORE_RELOAD = frozenset({4000, 4003})
NOT_BEFORE_SIGN_IN = frozenset({4001, 4009})


def retry_after(reason: str) -> float | None:
    """The seconds in the reason of a close with 1013, `retry=MILLISECONDS`; None if it has none."""
    match = re.fullmatch(r"retry=(\d+)", reason)
    return None if match is None else int(match[1]) / 1000


@dataclass
class Backoff:
    """Full jitter that doubles from 0.5 s to 10 s. Times are monotonic seconds."""

    random: random.Random = field(default_factory=random.Random)
    _failures: int = 0
    _past_changed_at: float = float("-inf")

    def reset(self) -> None:
        """Forget the failures: ten seconds after a hello, on `online`, and when the tab becomes visible."""
        self._failures = 0

    def delay(self, code: int, now: float, retry: float) -> float | None:
        """Seconds to wait after a close with `code`, or None if the client must not reconnect. `retry`:
        hello's reconnect window in seconds.
        """
        if code in NOT_BEFORE_RELOAD or code in NOT_BEFORE_SIGN_IN:
            return None
        if code == 1012:
            return self.random.uniform(0, retry)
        if code == 4010:
            again = now - self._past_changed_at <= 10
            self._past_changed_at = now
            if not again:
                return 0.0
        wait = self.random.uniform(0, self._limit(self._failures))
        self._failures += 1
        return max(30.0, wait) if code == 4013 else wait

    @staticmethod
    def _limit(failures: int) -> float:
        return min(10.0, 0.5 * 2**failures)
