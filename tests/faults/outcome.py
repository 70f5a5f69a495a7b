"""The results of the fault suite's tests, kept for docs/reference/faults.md (see page.py)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from harness.evidence import RESULTS

FILE = "faults.json"


@dataclass
class Outcome:
    """One test's result: the fault, what users notice, and durations in seconds."""

    test: str
    fault: str = ""
    notice: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    def describe(self, fault: str, notice: str) -> None:
        """Describe the fault and what users notice, in two plain sentences."""
        self.fault, self.notice = fault, notice

    def measured(self, what: str, seconds: float) -> None:
        """Record a duration. The maximum counts."""
        self.seconds[what] = round(max(seconds, self.seconds.get(what, 0.0)), 4)
        print(f"{what}: {seconds:.2f} s")

    def keep(self, folder: Path = RESULTS) -> None:
        """Add this result to the file, in place of an earlier run's."""
        assert self.fault and self.notice, f"{self.test} doesn't say what it shows"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / FILE
        known = json.loads(file.read_text()) if file.exists() else {}
        known[self.test] = {"fault": self.fault, "notice": self.notice, "seconds": self.seconds}
        file.write_text(json.dumps(known, indent=1, sort_keys=True, ensure_ascii=False))
