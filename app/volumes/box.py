"""A box of voxels: three half-open ranges. Depends on neither requests nor the database."""

from __future__ import annotations

from typing import Any, NamedTuple

AXES = ("x", "y", "z")


class Range(NamedTuple):
    """The voxels from `start` to `stop`, without `stop`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        return f"{self.start}–{self.stop}"


class Box(NamedTuple):
    """One range along each axis."""

    x: Range
    y: Range
    z: Range

    @property
    def voxels(self) -> int:
        return self.x.length * self.y.length * self.z.length

    def __str__(self) -> str:
        return f"x {self.x}, y {self.y}, z {self.z}"

    def as_json(self) -> dict[str, list[int]]:
        """{"x": [start, stop], …}"""
        return {axis: list(range_) for axis, range_ in zip(AXES, self, strict=True)}


class BadBox(ValueError):
    """The box is invalid. `field` is the invalid part, `limit` its maximum, if that is the problem."""

    def __init__(self, field: str, what: str, limit: Any = None) -> None:
        super().__init__(f"{field} {what}")
        self.field = field
        self.limit = limit


def parse_box(value: Any, within: Box, max_voxels: int) -> Box:
    """The box in a JSON value {"x": [start, stop], "y": …, "z": …}. `within`: the volume. Raises BadBox."""
    if not isinstance(value, dict):
        raise BadBox("box", 'must be an object such as {"x": [0, 64], "y": [0, 64], "z": [0, 64]}')
    for name in value:
        if name not in AXES:
            raise BadBox(f"box.{ascii(name)[1:-1][:40]}", "is not an axis; the axes are x, y and z")
    ranges = [
        _parse_range(value.get(axis), axis, whole.stop) for axis, whole in zip(AXES, within, strict=True)
    ]
    box = Box(*ranges)
    if box.voxels > max_voxels:
        raise BadBox("box", f"has {box.voxels} voxels, at most {max_voxels} are allowed", max_voxels)
    return box


def _parse_range(value: Any, axis: str, size: int) -> Range:
    field = f"box.{axis}"
    if value is None:
        raise BadBox(field, "is missing")
    if not isinstance(value, list) or len(value) != 2:
        raise BadBox(field, "must be a list of two whole numbers, [start, stop]")
    for number in value:
        # Not isinstance: bool is a subclass of int.
        if type(number) is not int:
            raise BadBox(field, "must be a list of two whole numbers, [start, stop]")
    start, stop = value
    if start < 0 or stop > size or start > size or stop < 0:
        raise BadBox(field, f"reaches outside the volume, which has {size} voxels along {axis}", size)
    if start > stop:
        raise BadBox(field, f"is inverted: its start {start} is after its stop {stop}")
    if start == stop:
        raise BadBox(field, "is empty: stop must be greater than start")
    return Range(start, stop)
