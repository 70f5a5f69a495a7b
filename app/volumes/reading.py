"""How this process reads Zarr stores.

A slice across 512 × 512 voxels takes 64 chunks, half a MiB each if they have 16 bits, and somebody waits for
it. As Zarr and the C library come, two thirds of the time go into neither voxels nor disk.
"""

from __future__ import annotations

import ctypes
import functools
from contextlib import suppress
from typing import Any, Final

# glibc's numbers for them, https://man7.org/linux/man-pages/man3/mallopt.3.html
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
# Bytes: buffers up to the one come from memory that is kept, up to the other at the top of each arena.
_REUSED: Final = 4 * 2**20
_KEPT: Final = 16 * 2**20
# Threads share them. By default there may be eight for each core, and each would keep as much; those that
# there are when the limit is set stay.
_ARENAS: Final = 2


@functools.cache
def zarr() -> Any:
    """The module, prepared for reading. Imported at the first call: processes that never touch voxels, such
    as Daphne's, do without.
    """
    import zarr
    from zarr.core import codec_pipeline

    _keep_freed_memory()
    # Chunk by chunk in the thread that asks: no coroutine and no other thread for each, nor all in memory at
    # once. The Zarr that Python 3.11 gets has it not.
    if hasattr(codec_pipeline, "FusedCodecPipeline"):
        path = f"{codec_pipeline.__name__}.FusedCodecPipeline"
        zarr.config.set({"codec_pipeline.path": path, "codec_pipeline.max_workers": 1})
    return zarr


def _keep_freed_memory() -> None:
    """Let the C library keep what is freed. By default it gives a chunk's buffers back to the kernel, which
    hands them out again page by page, zeroed: 17,000 page faults a slice.
    """
    with suppress(OSError, AttributeError):  # another C library has no mallopt, or none of that name
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, _ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _REUSED)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
