"""The cost of reading a slice, besides its voxels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest

import mysite
from volumes import reading

# A slice reads 64 chunks of half a MiB: 8,192 pages of memory, and almost as many from the disk.
FAULTS = 500

# In a new process: memory that a process has used before changes how it gets more.
_READ = """
import resource, sys
from volumes import reading, slices
array = reading.zarr().open_array(sys.argv[1], mode="r")
slices.whole_slice(array, sys.argv[2], 1, (0, 4096))
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for index in (2, 3, 4):
    slices.whole_slice(array, sys.argv[2], index, (0, 4096))
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 3)
"""

# Sixteen threads that all hold memory at once, then the number of the C library's arenas.
_ARENAS = """
import ctypes, re, sys, threading
from volumes import reading
if sys.argv[1] == "limited":
    reading.zarr()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
barrier = threading.Barrier(16)
def hold():
    libc.malloc(ctypes.c_size_t(1000))
    barrier.wait()
threads = [threading.Thread(target=hold) for _ in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
out = ctypes.c_void_p(libc.fopen(sys.argv[2].encode(), b"w"))
libc.malloc_info(0, out)
libc.fclose(out)
print(len(re.findall("<heap nr=", open(sys.argv[2]).read())))
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """512 × 512 × 64 voxels of 16 bits that compress like a microscope's, in chunks like a volume's."""
    from zarr.codecs import BloscCodec

    path: Path = tmp_path_factory.mktemp("volumes") / "slab.zarr"
    voxels = 300 * numpy.random.default_rng(1).standard_normal((64, 512, 512), dtype="float32")
    voxels += numpy.linspace(0, 4000, 512, dtype="float32")
    reading.zarr().create_array(
        path,
        data=voxels.clip(0, 65535).astype("uint16"),
        chunks=(64, 64, 64),
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
    )
    return path


@pytest.mark.image
@pytest.mark.parametrize("axis", ["z", "y", "x"])
def test_memory_is_reused_from_slice_to_slice(store: Path, axis: str) -> None:
    command = [sys.executable, "-c", _READ, str(store), axis]
    app = Path(mysite.__file__).parent.parent
    done = subprocess.run(command, cwd=app, check=True, capture_output=True, text=True)
    assert int(done.stdout) < FAULTS


def arenas(limited: str, path: Path) -> int:
    environ = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    command = [sys.executable, "-c", _ARENAS, limited, str(path)]
    app = Path(mysite.__file__).parent.parent
    done = subprocess.run(command, cwd=app, env=environ, check=True, capture_output=True, text=True)
    return int(done.stdout)


def test_memory_is_kept_in_two_arenas_however_many_threads_there_are(tmp_path: Path) -> None:
    """On a host, no environment sets MALLOC_ARENA_MAX, as the image does."""
    assert arenas("limited", tmp_path / "arenas.xml") == 2
    assert arenas("as it comes", tmp_path / "arenas.xml") > 2


@pytest.mark.image
def test_chunks_are_read_in_the_thread_that_asks(store: Path) -> None:
    """With the images' version of Zarr. The test fails if a later version changes this."""
    array = reading.zarr().open_array(store, mode="r")
    assert type(array.async_array.codec_pipeline).__name__ == "FusedCodecPipeline"
