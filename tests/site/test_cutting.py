"""The TIFF file of a crop."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy
import pytest
import tifffile
import zarr

from volumes import cutting, formats, stores
from volumes.box import Box, Range

pytestmark = pytest.mark.django_db


def cut(volume: Any, box: Box, path: Path, progress: Any = lambda percent: None) -> int:
    return cutting.cut(stores.open_array(volume), box, path, volume.voxel_size, volume.unit, progress)


@pytest.mark.parametrize(
    "box",
    [
        Box(Range(10, 74), Range(5, 50), Range(2, 29)),
        Box(Range(0, 100), Range(0, 70), Range(0, 30)),
        Box(Range(99, 100), Range(69, 70), Range(29, 30)),
        Box(Range(63, 65), Range(63, 65), Range(0, 1)),
    ],
    ids=str,
)
def test_it_holds_exactly_the_box(volume: Any, voxels: numpy.ndarray, box: Box, tmp_path: Path) -> None:
    path = tmp_path / "new" / "crop.tiff"
    size = cut(volume, box, path)
    assert size == path.stat().st_size
    with tifffile.TiffFile(path) as tiff:
        assert len(tiff.pages) == box.z.length
        assert {page.shape for page in tiff.pages} == {(box.y.length, box.x.length)}
        expected = voxels[slice(*box.z), slice(*box.y), slice(*box.x)]
        pages = numpy.stack([page.asarray() for page in tiff.pages])
        assert pages.dtype == voxels.dtype
        assert (pages == expected).all()


def test_it_contains_the_voxel_size(volume: Any, tmp_path: Path) -> None:
    cut(volume, Box(Range(1, 9), Range(2, 9), Range(3, 9)), tmp_path / "crop.tiff")
    with tifffile.TiffFile(tmp_path / "crop.tiff") as tiff:
        page: Any = tiff.pages[0]
        assert page.tags["XResolution"].value == (20, 1)  # pixels per centimetre, for 0.5 mm
        assert page.tags["ResolutionUnit"].value == 3
        (described,) = tiff.shaped_metadata or ()
        assert (described["axes"], described["spacing"], described["unit"]) == ("ZYX", 2.0, "mm")
        assert described["origin"] == [1, 2, 3]


@pytest.mark.parametrize("dtype", formats.DTYPES)
def test_each_type_of_voxel(dtype: str, tmp_path: Path) -> None:
    voxels = (numpy.arange(5 * 6 * 7) % 100).reshape(5, 6, 7).astype(dtype)
    array = zarr.create_array({}, data=voxels, chunks=(4, 4, 4))
    whole = Box(Range(0, 7), Range(0, 6), Range(0, 5))
    cutting.cut(array, whole, tmp_path / "crop.tiff", (1, 1, 1), "", lambda percent: None)
    read = tifffile.imread(tmp_path / "crop.tiff")
    assert read.dtype == dtype and (read == voxels).all()


def test_progress_goes_to_100(volume: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "SLAB_BYTES", 100 * 70 * 4 * 7)
    told: list[int] = []
    cut(volume, volume.whole, tmp_path / "crop.tiff", told.append)
    assert told == [23, 46, 70, 93, 100]


def test_an_aborted_cut_leaves_nothing(volume: Any, tmp_path: Path) -> None:
    path = tmp_path / "crop.tiff"
    path.write_text("the one before")

    def stop(percent: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        cut(volume, volume.whole, path, stop)
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["crop.tiff"]
    assert path.read_text() == "the one before"


def test_a_store_with_a_broken_chunk_is_an_error(volume: Any, tmp_path: Path) -> None:
    chunks = [path for path in volume.path.rglob("*") if path.is_file() and path.name != "zarr.json"]
    chunks[0].write_bytes(b"broken")
    with pytest.raises(RuntimeError, match=r"zstd|Zstd|decompress"):
        cut(volume, volume.whole, tmp_path / "crop.tiff")
    assert not (tmp_path / "crop.tiff").exists()


class Watched:
    """An array that records how much was read at once."""

    def __init__(self, array: Any) -> None:
        self.array = array
        self.dtype = array.dtype
        self.chunks = array.chunks
        self.reads: list[tuple[slice, ...]] = []

    def __getitem__(self, place: tuple[slice, ...]) -> Any:
        self.reads.append(place)
        return self.array[place]


def test_only_what_is_needed_is_read_and_each_chunk_once(tmp_path: Path) -> None:
    tall = zarr.create_array({}, shape=(300, 8, 8), chunks=(64, 8, 8), dtype="uint8")
    watched = Watched(tall)
    box = Box(Range(2, 5), Range(1, 8), Range(10, 200))
    cutting.cut(watched, box, tmp_path / "crop.tiff", (1, 1, 1), "", lambda percent: None)
    ends = [(10, 64), (64, 128), (128, 192), (192, 200)]
    assert watched.reads == [(slice(start, stop), slice(1, 8), slice(2, 5)) for start, stop in ends]


def test_memory_does_not_grow_with_the_crop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 MB are cut in slabs of 2 MB with less than 16 MB of memory."""
    monkeypatch.setattr(cutting, "SLAB_BYTES", 2 * 2**20)
    store = tmp_path / "large.zarr"
    array = zarr.create_array(store, shape=(160, 512, 512), chunks=(16, 64, 64), dtype="uint8")
    whole = Box(Range(0, 512), Range(0, 512), Range(0, 160))
    tracemalloc.start()
    try:
        cutting.cut(array, whole, tmp_path / "crop.tiff", (1, 1, 1), "", lambda percent: None)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 * 2**20
