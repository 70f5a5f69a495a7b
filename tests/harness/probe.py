"""A continuous client: sends requests at a steady rate during a change to the stack, and counts the
responses.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

import requests


@dataclass(frozen=True)
class Sample:
    """One request: when it was sent (monotonic seconds), its duration, and its status (0: no response)."""

    at: float
    seconds: float
    status: int
    note: str = ""


@dataclass
class Probe:
    """Calls `ask`, which returns a response, `rate` times a second from one thread. The schedule does not
    slip (open loop).
    """

    ask: Callable[[], requests.Response]
    rate: float = 20.0
    samples: list[Sample] = field(default_factory=list)

    def __enter__(self) -> Probe:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="probe", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(30)

    def failures(self, after: float = 0.0) -> list[Sample]:
        """Failed requests sent after that moment (monotonic): no response, or a status of 500 and above."""
        return [
            sample
            for sample in self.samples
            if sample.at >= after and (sample.status == 0 or sample.status >= 500)
        ]

    def assert_clean(self, after: float = 0.0, *, at_least: int = 20) -> None:
        """Assert that no request failed after that moment, and that there were enough of them."""
        asked = [sample for sample in self.samples if sample.at >= after]
        counted = collections.Counter(sample.status for sample in asked)
        assert len(asked) >= at_least, f"only {len(asked)} requests"
        assert not self.failures(after), f"{dict(counted)}; first failure: {self.failures(after)[0]}"

    def _run(self) -> None:
        begin = time.monotonic()
        for number in range(1_000_000):
            if self._stop.wait(max(0.0, begin + number / self.rate - time.monotonic())):
                return
            self.samples.append(self._sample())

    def _sample(self) -> Sample:
        at = time.monotonic()
        try:
            answer = self.ask()
            return Sample(at, time.monotonic() - at, answer.status_code, answer.headers.get("X-Backend", ""))
        except requests.RequestException as error:
            return Sample(at, time.monotonic() - at, 0, repr(error))
