"""Prepares Zarr and the C library for fast reading.

A slice of 512 × 512 voxels needs 64 chunks, half a MiB each with 16 bits per voxel, and a user waits for it.
With the defaults of Zarr and the C library, two thirds of the time are spent on neither voxels nor the disk.
"""

from __future__ import annotations

import ctypes
import functools
from contextlib import suppress
from typing import Any, Final

# Parameters of glibc's mallopt: https://man7.org/linux/man-pages/man3/mallopt.3.html
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
# Bytes. Buffers up to _REUSED come from an arena. Each arena keeps up to _KEPT of free memory at its top.
_REUSED: Final = 4 * 2**20
_KEPT: Final = 16 * 2**20
# The most arenas, which threads share. By default there may be eight per core, and each would keep _KEPT.
# Arenas that exist already stay.
_ARENAS: Final = 2


@functools.cache
def zarr() -> Any:
    """The module zarr, prepared for reading.

    It is imported at the first call: Daphne, for example, never needs it.
    """
    import zarr
    from zarr.core import codec_pipeline

    _keep_freed_memory()
    # This pipeline reads chunk by chunk in the calling thread, without a coroutine or another thread for
    # each, and without all chunks in memory at once. The Zarr for Python 3.11 doesn't have it.
    if hasattr(codec_pipeline, "FusedCodecPipeline"):
        path = f"{codec_pipeline.__name__}.FusedCodecPipeline"
        zarr.config.set({"codec_pipeline.path": path, "codec_pipeline.max_workers": 1})
    return zarr


def _keep_freed_memory() -> None:
    """Make the C library keep freed memory.

    By default it returns a chunk's buffers to the kernel, which provides them again page by page, zeroed.
    That costs 17,000 page faults per slice.
    """
    with suppress(OSError, AttributeError):  # another C library may not have mallopt
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, _ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _REUSED)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
