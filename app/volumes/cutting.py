"""Cutting: copies a box from a volume's store to a TIFF file, slab by slab, in bounded memory."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from .box import Box

# The largest slab. Zarr's own buffers, a few chunks, are not included.
SLAB_BYTES: Final = 64 * 1024 * 1024
# TIFF has 32-bit offsets, BigTIFF 64-bit ones. 64 MiB are reserved for the directories, one for each page.
_TIFF_BYTES: Final = 2**32 - 2**26
_PER_CENTIMETRE: Final = {"mm": 10.0, "µm": 10_000.0, "m": 0.01}


def cut(
    array: Any,
    box: Box,
    path: Path,
    voxel_size: tuple[float, float, float],
    unit: str,
    progress: Callable[[int], None],
) -> int:
    """Write the box to `path` as a TIFF: one page for each z, rows are y, columns are x.

    Returns the file's size in bytes. The file is created atomically. It needs SLAB_BYTES of memory and a
    little more. `progress` is called with the percentage after each slab. If it raises, no file is left, and
    the exception is raised.
    """
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=".unfinished", dir=path.parent)
    try:
        _write(name, array, box, voxel_size, unit, progress)
        os.fchmod(handle, 0o640)  # nginx reads it as a member of the group
        os.fsync(handle)
        size = os.fstat(handle).st_size
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    finally:
        os.close(handle)
    return size


def _write(
    name: str,
    array: Any,
    box: Box,
    voxel_size: tuple[float, float, float],
    unit: str,
    progress: Callable[[int], None],
) -> None:
    import tifffile

    scale = _PER_CENTIMETRE.get(unit)
    bytes_in_all = box.voxels * array.dtype.itemsize
    with tifffile.TiffWriter(name, bigtiff=bytes_in_all > _TIFF_BYTES) as tiff:
        tiff.write(
            _pages(array, box, progress),
            shape=(box.z.length, box.y.length, box.x.length),
            dtype=array.dtype,
            photometric="minisblack",
            software="Sluice",
            # A voxel's width and height have TIFF tags. Its depth has none, so it is in the description.
            resolution=(scale / voxel_size[0], scale / voxel_size[1]) if scale else None,
            resolutionunit="CENTIMETER" if scale else None,
            metadata={
                "axes": "ZYX",
                "spacing": voxel_size[2],
                "unit": unit,
                "origin": [box.x.start, box.y.start, box.z.start],
            },
        )


def _pages(array: Any, box: Box, progress: Callable[[int], None]) -> Iterator[Any]:
    depth = _slab_depth(box, array.dtype.itemsize, array.chunks[0])
    start = box.z.start
    while start < box.z.stop:
        # Slabs end at the borders of chunks, so that few chunks are read twice.
        stop = min(box.z.stop, start - start % depth + depth)
        slab = array[start:stop, box.y.start : box.y.stop, box.x.start : box.x.stop]
        yield from slab
        start = stop
        progress(100 * (stop - box.z.start) // box.z.length)


def _slab_depth(box: Box, itemsize: int, chunk: int) -> int:
    slices = max(1, SLAB_BYTES // (box.x.length * box.y.length * itemsize))
    return min(slices, chunk)
