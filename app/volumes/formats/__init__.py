"""File formats of image volumes. Each has a module with SUFFIXES and `read(path) -> Source`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

# The types of voxels that volumes and TIFF files may have.
DTYPES: Final = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")

# A file is taken for a decompression bomb if it claims more than _BOMB_BYTES and more than _BOMB_RATIO times
# its own size. Measured voxels don't compress that well.
_BOMB_BYTES: Final = 2**30
_BOMB_RATIO: Final = 200
# The limit for one slab, which an import holds in memory.
_SLAB_BYTES: Final = 2**31
SLAB: Final = 64  # slices of a slab


class BadFile(Exception):
    """The file can't be imported. The text is the reason, without the file's name."""


@dataclass(frozen=True)
class Source:
    """An open file: its metadata, and its voxels in slabs."""

    shape: tuple[int, int, int]  # z, y, x
    dtype: str
    voxel_size: tuple[float, float, float]  # x, y, z
    unit: str
    # slabs(depth): arrays of at most `depth` slices along z, in order, with the axes z, y, x. Raises BadFile.
    slabs: Callable[[int], Iterator[Any]]
    upright: bool = False  # see models.Volume


def open_file(path: Path) -> Source:
    """Open a file, or the folder of a Zarr store, with the format of its suffix. Raises BadFile."""
    from . import nifti, tiff, zarrs

    readers = {suffix: module.read for module in (nifti, tiff, zarrs) for suffix in module.SUFFIXES}
    for suffix, read in readers.items():
        if path.name.lower().endswith(suffix):
            if path.is_dir() != (read is zarrs.read):
                raise BadFile("it is a folder" if path.is_dir() else "it is a file; a Zarr store is a folder")
            source = read(path)
            _check_size(source, _bytes(path))
            return source
    raise BadFile(f"its suffix is none of {', '.join(sorted(readers))}")


def check(shape: tuple[int, ...], dtype: str) -> None:
    """Raises BadFile if a volume can't have this shape or these voxels."""
    if len(shape) != 3 or min(shape) < 1 or max(shape) > 2**24:
        raise BadFile(
            f"it has the dimensions {' × '.join(map(str, shape)) or 'of a point'}; three are needed"
        )
    if dtype not in DTYPES:
        raise BadFile(f"its voxels are of type {dtype}; supported are {', '.join(DTYPES)}")


@contextmanager
def reading(otherwise: str) -> Iterator[None]:
    """Turn any exception of the block into BadFile, with `otherwise` and the reason on one line.

    The libraries may raise anything for a damaged file.
    """
    try:
        yield
    except BadFile:
        raise
    except MemoryError as error:
        raise BadFile(f"{otherwise}: there is not enough memory") from error
    except Exception as error:
        why = " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
        raise BadFile(f"{otherwise}: {why}") from error


def size_or_one(size: float) -> float:
    """The size of a voxel; 1 if the file has no valid one, such as 0 or NaN."""
    return float(size) if 0 < size < float("inf") else 1.0


def _check_size(source: Source, stored: int) -> None:
    import numpy

    depth, height, width = source.shape
    slice_bytes = height * width * numpy.dtype(source.dtype).itemsize
    claimed = depth * slice_bytes
    if claimed > _BOMB_BYTES and claimed > stored * _BOMB_RATIO:
        raise BadFile(
            f"it claims {claimed >> 20} MiB of voxels in {stored >> 10} KiB, like a decompression bomb"
        )
    if min(depth, SLAB) * slice_bytes > _SLAB_BYTES:
        raise BadFile(
            f"its slices have {width} × {height} voxels; {SLAB} of them must fit into {_SLAB_BYTES >> 20} MiB"
        )


def _bytes(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size
