"""What beat counts, by the name of a job: plain numbers. A job never runs twice at a time."""

from __future__ import annotations

from collections import Counter

runs: Counter[str] = Counter()
failures: Counter[str] = Counter()
succeeded_at: dict[str, float] = {}  # Unix time
