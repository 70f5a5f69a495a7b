"""What is raised for an environment that cannot be used."""

from __future__ import annotations

from collections.abc import Iterable


class Malformed(Exception):
    """The environment cannot be used; `problems` has one sentence each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(self.problems))
