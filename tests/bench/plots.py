"""Plots as SVG, by hand: bars with their spread, and curves. Readable on a light and on a dark page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_WIDTH: Final = 760
_LEFT: Final = 220
_RIGHT: Final = 110
_COLOURS: Final = ("#2a7de1", "#e07b00", "#1a9850", "#a050c0", "#d73027", "#6b7280")
_INK: Final = "#6b7280"


def bars(title: str, unit: str, rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    """A bar for each row: the median of its values, and a line from the least to the most. Logarithmic if the
    largest is more than 20 times the smallest.
    """
    medians = [(name, _median(values), min(values), max(values)) for name, values in rows]
    most = max(high for *_, high in medians)
    least = min(low for _, _, low, _ in medians)
    logarithmic = least > 0 and most > 20 * least
    floor = 10 ** math.floor(math.log10(least)) if logarithmic else 0.0

    def x(value: float) -> float:
        room = _WIDTH - _LEFT - _RIGHT
        if logarithmic:
            return _LEFT + room * math.log10(max(value, floor) / floor) / math.log10(most / floor)
        return _LEFT + room * value / most

    parts = [_text(10, 24, title + (" (logarithmic)" if logarithmic else ""), weight="bold")]
    for number, (name, median, low, high) in enumerate(medians):
        y = 44 + 28 * number
        colour = _COLOURS[0] if name.startswith("Sluice") else _COLOURS[5]
        parts.append(_text(_LEFT - 8, y + 14, name, anchor="end"))
        parts.append(
            f'<rect x="{_LEFT}" y="{y}" width="{max(1.0, x(median) - _LEFT):.1f}" height="20" '
            f'fill="{colour}" fill-opacity="0.75"/>'
        )
        parts.append(_line(x(low), y + 10, x(high), y + 10, _INK, 2))
        parts.append(_text(x(high) + 8, y + 14, f"{number_of(median)} {unit}"))
    return _svg(44 + 28 * len(medians) + 10, parts)


def curves(
    title: str, across: str, up: str, lines: Sequence[tuple[str, Sequence[tuple[float, float]]]]
) -> str:
    """Curves through points, both axes from zero. Their names are below them, at the right."""
    height, top, bottom, left = 380, 44, 50, 70
    steps_x = _steps(max((x for _, points in lines for x, _ in points), default=1.0))
    steps_y = _steps(max((y for _, points in lines for _, y in points), default=1.0))
    most_x = steps_x.size * steps_x.count
    most_y = steps_y.size * steps_y.count

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return (
            left + (_WIDTH - left - 20) * point[0] / most_x,
            height - bottom - (height - top - bottom) * point[1] / most_y,
        )

    parts = [_text(10, 24, title, weight="bold")]
    for value in steps_y.values():
        _, y = place((0, value))
        parts.append(_line(left, y, _WIDTH - 20, y, _INK, 0.4))
        parts.append(_text(left - 6, y + 4, f"{value:,g}", anchor="end"))
    for value in steps_x.values():
        x, _ = place((value, 0))
        parts.append(_text(x, height - bottom + 18, f"{value:,g}", anchor="middle"))
    parts.append(_text(_WIDTH / 2, height - 10, across, anchor="middle"))
    parts.append(_text(left + 6, top - 4, up))
    for number, (name, points) in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        y = height - bottom - 12 - 18 * (len(lines) - 1 - number)
        parts.append(_text(_WIDTH - 26, y, name, anchor="end", colour=colour, weight="bold"))
    return _svg(height, parts)


def number_of(value: float) -> str:
    """Three digits, with commas."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    rounded = round(value, 2 - math.floor(math.log10(abs(value))))
    return f"{rounded:,.{min(digits, 3)}f}"


@dataclass(frozen=True)
class Steps:
    """The steps of an axis that begins at zero."""

    size: float
    count: int

    def values(self) -> list[float]:
        """Zero, and the end of each step."""
        return [self.size * number for number in range(self.count + 1)]


def _steps(most: float) -> Steps:
    """Steps of 1, 2 or 5 times a power of ten: three to six of them reach `most`."""
    power = 10.0 ** math.floor(math.log10(most or 1.0))
    size = next(size for size in (power / 5, power / 2, power, 2 * power) if size * 6 >= most)
    return Steps(size, math.ceil(most / size))


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", colour: str = _INK
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">'
        f"{escape(text)}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"/>'
    )


def _svg(height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" '
        f'height="{height}" font-family="sans-serif" font-size="13">\n' + "\n".join(parts) + "\n</svg>\n"
    )
