"""The Zarr stores of volumes. Each has one array with the axes z, y, x.

The array has chunks, so that a crop reads only what it needs. Zarr and NumPy are imported inside functions,
since some processes, such as Daphne, never need them.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from . import reading
from .contrast import Contrast, Survey
from .formats import SLAB, BadFile, Source
from .models import Volume

CHUNK: Final = SLAB  # voxels along each axis: 256 KiB of uint8. Slices along all axes cost the same.

# An unfinished store without a write for this long belongs to a dead import.
_UNFINISHED_SECONDS: Final = 24 * 3600


def import_source(source: Source, title: str, root: Path, progress: Callable[[int], None]) -> Volume:
    """Copy the voxels to a new store below `root`, and create the row. Does both or nothing.

    `progress` is called with the percentage. Raises BadFile.
    """
    import numpy

    size = numpy.dtype(source.dtype).itemsize * source.shape[0] * source.shape[1] * source.shape[2]
    root.mkdir(parents=True, exist_ok=True)
    _sweep(root)
    free = shutil.disk_usage(root).free
    if size > free:  # uncompressed: the compressed size is not known before
        raise BadFile(f"it may need {size >> 20} MiB, and {root} has only {free >> 20} MiB left")
    name = f"{uuid.uuid4().hex}.zarr"
    unfinished = root / f".{name}.unfinished"
    try:
        contrast = _write(source, unfinished, progress)
        unfinished.rename(root / name)
        return _create_row(source, contrast, title, name)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.rmtree(root / name, ignore_errors=True)
        raise


def _sweep(root: Path) -> None:
    """Remove the unfinished stores of killed imports."""
    for path in root.glob(".*.unfinished"):
        if time.time() - path.stat().st_mtime > _UNFINISHED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def open_array(volume: Volume) -> Any:
    """The volume's array, for reading.

    Raises OSError if it doesn't exist, ValueError if it contradicts the row.
    """
    array = reading.zarr().open_array(volume.path, mode="r")
    shape = (volume.size_z, volume.size_y, volume.size_x)
    if array.shape != shape or array.dtype.name != volume.dtype:
        raise ValueError(f"{volume.path} holds {array.shape} of {array.dtype}, not {shape} of {volume.dtype}")
    return array


def _write(source: Source, path: Path, progress: Callable[[int], None]) -> Contrast:
    import zarr
    from zarr.codecs import BloscCodec

    array = zarr.create_array(
        path,
        shape=source.shape,
        chunks=tuple(min(CHUNK, length) for length in source.shape),
        dtype=source.dtype,
        dimension_names=("z", "y", "x"),
        fill_value=0,
        # A slice of 512 × 512 voxels needs 64 chunks. LZ4 takes two thirds of Zstandard's time for it, and a
        # tenth more space.
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
    )
    survey = Survey(source.shape)
    done = 0
    for slab in source.slabs(CHUNK):
        array[done : done + len(slab)] = slab
        survey.add(slab)
        done += len(slab)
        progress(100 * done // source.shape[0])
    if done != source.shape[0]:
        raise BadFile(f"it has {done} slices instead of {source.shape[0]}")
    return survey.result()


def _create_row(source: Source, contrast: Contrast, title: str, store: str) -> Volume:
    size_z, size_y, size_x = source.shape
    voxel_x, voxel_y, voxel_z = source.voxel_size
    return Volume.objects.create(
        title=title,
        store=store,
        size_x=size_x,
        size_y=size_y,
        size_z=size_z,
        dtype=source.dtype,
        voxel_x=voxel_x,
        voxel_y=voxel_y,
        voxel_z=voxel_z,
        unit=source.unit,
        upright=source.upright,
        **contrast._asdict(),
    )
