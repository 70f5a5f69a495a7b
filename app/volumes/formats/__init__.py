"""Files that hold an image volume. One module a format; each has SUFFIXES and `read(path) -> Source`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

# What a volume may consist of, and a TIFF too.
DTYPES: Final = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


class BadFile(Exception):
    """The file can't be imported. The text says why, without the file's name."""


@dataclass(frozen=True)
class Source:
    """A file that was opened: what it says of itself, and its voxels in slabs."""

    shape: tuple[int, int, int]  # z, y, x
    dtype: str
    voxel_size: tuple[float, float, float]  # x, y, z
    unit: str
    # Arrays of at most so many slices along z, in order, with the axes z, y, x. Raises BadFile.
    slabs: Callable[[int], Iterator[Any]]


def open_file(path: Path) -> Source:
    """Open a file by its suffix. Raises BadFile."""
    from . import nifti

    readers = {suffix: module.read for module in (nifti,) for suffix in module.SUFFIXES}
    for suffix, read in readers.items():
        if path.name.lower().endswith(suffix):
            return read(path)
    raise BadFile(f"its name ends in none of {', '.join(sorted(readers))}")


def check(shape: tuple[int, ...], dtype: str) -> None:
    """Raises BadFile if a volume can't have this shape or these voxels."""
    if len(shape) != 3 or min(shape) < 1 or max(shape) > 2**24:
        raise BadFile(
            f"it has the dimensions {' × '.join(map(str, shape)) or 'of a point'}; three are needed"
        )
    if dtype not in DTYPES:
        raise BadFile(f"its voxels are of type {dtype}; supported are {', '.join(DTYPES)}")
