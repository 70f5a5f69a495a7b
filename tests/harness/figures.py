"""Rows of the table of figures."""

from __future__ import annotations

import math
from typing import Final

COMMAND: Final = "`make bench`"


def row(what: str, milliseconds: list[float]) -> str:
    """A row of the table."""
    ordered = sorted(milliseconds)

    values = (quantile(milliseconds, 0.5), quantile(milliseconds, 0.99), ordered[-1])
    figures = " | ".join(f"{value:.1f} ms" for value in values)
    return f"| {what} | {figures} | {len(ordered)} | {COMMAND} |"


def quantile(values: list[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
