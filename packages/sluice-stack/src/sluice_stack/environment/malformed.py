"""The exception for an invalid environment."""

from __future__ import annotations

from collections.abc import Iterable


class Malformed(Exception):
    """The environment is invalid. `problems` has one sentence for each problem."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(self.problems))
