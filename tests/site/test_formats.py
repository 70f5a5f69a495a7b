"""TIFF stacks and Zarr stores: which are read, and which are refused, with one sentence and no files left
behind.
"""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy
import pytest
import tifffile
import zarr
from django.core.management import CommandError, call_command

from volumes import formats, stores
from volumes.formats import tiff, zarrs
from volumes.models import Volume

pytestmark = pytest.mark.django_db


@pytest.fixture
def some() -> numpy.ndarray:
    """z, y, x."""
    return numpy.random.default_rng(1).integers(0, 4000, (70, 40, 50), dtype="uint16")


def imported(path: Path) -> Volume:
    call_command("import_volume", str(path))
    return Volume.objects.get()


def refused(path: Path, settings: Any) -> str:
    """The reason for a refusal. Asserts that it is one sentence, and that the attempt left nothing behind."""
    with pytest.raises(CommandError) as caught:
        call_command("import_volume", str(path))
    assert not Volume.objects.exists()
    root = Path(settings.VOLUMES_ROOT)
    assert not root.exists() or list(root.iterdir()) == []
    words = str(caught.value)
    assert "\n" not in words and words.endswith(".") and len(words) < 500
    return words


# ---- TIFF


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "zlib", "tile": (16, 16), "predictor": True},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"imagej": True},
        {"ome": True},
        {"metadata": None},
        {"contiguous": False, "rowsperstrip": 7},
    ],
    ids=str,
)
def test_tiff_stacks(tmp_path: Path, some: numpy.ndarray, options: dict[str, Any]) -> None:
    tifffile.imwrite(tmp_path / "stack.TIF", some, photometric="minisblack", **options)
    volume = imported(tmp_path / "stack.TIF")
    assert (volume.title, volume.dtype, volume.upright) == ("stack", "uint16", False)
    assert (stores.open_array(volume)[:] == some).all()


@pytest.mark.parametrize("dtype", formats.DTYPES)
def test_each_type_of_voxel(tmp_path: Path, dtype: str) -> None:
    voxels = (numpy.arange(5 * 6 * 7) % 100).reshape(5, 6, 7).astype(dtype)
    tifffile.imwrite(tmp_path / "v.tiff", voxels, photometric="minisblack", compression="zlib")
    volume = imported(tmp_path / "v.tiff")
    assert volume.dtype == dtype
    assert (stores.open_array(volume)[:] == voxels).all()


def test_one_page_is_a_volume(tmp_path: Path, some: numpy.ndarray) -> None:
    tifffile.imwrite(tmp_path / "v.tif", some[0])
    assert imported(tmp_path / "v.tif").whole.voxels == some[0].size


def test_an_own_crop_can_be_imported_with_its_voxels_size(volume: Any, tmp_path: Path, voxels: Any) -> None:
    from volumes.cutting import cut

    path = tmp_path / "crop.tiff"
    cut(stores.open_array(volume), volume.whole, path, volume.voxel_size, volume.unit, lambda percent: None)
    source = formats.open_file(path)
    assert source.unit == "mm" and source.voxel_size == pytest.approx((0.5, 0.5, 2.0))
    assert (numpy.concatenate(list(source.slabs(64))) == voxels).all()


OME = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 40}
OME |= {f"PhysicalSize{axis}Unit": "nm" for axis in "XYZ"}


@pytest.mark.parametrize(
    ("options", "unit", "size"),
    [
        (
            {"imagej": True, "resolution": (2, 4), "metadata": {"spacing": 3.0, "unit": "um"}},
            "µm",
            (0.5, 0.25, 3),
        ),
        (
            {"imagej": True, "resolution": (2, 4), "metadata": {"spacing": 3.0, "unit": "cm"}},
            "mm",
            (5, 2.5, 30),
        ),
        (
            {"imagej": True, "resolution": (2, 4), "metadata": {"spacing": 3.0, "unit": "pixel"}},
            "",
            (1, 1, 1),
        ),
        ({"imagej": True, "resolution": (2, 4)}, "", (1, 1, 1)),
        ({"ome": True, "metadata": OME}, "µm", (0.0005, 0.00025, 0.04)),
        ({"resolution": (72, 72), "resolutionunit": "INCH"}, "", (1, 1, 1)),
    ],
    ids=["ImageJ", "centimetres", "pixels", "no depth", "OME", "a screen's"],
)
def test_the_size_of_a_voxel(
    tmp_path: Path, some: numpy.ndarray, options: dict[str, Any], unit: str, size: tuple[float, ...]
) -> None:
    tifffile.imwrite(tmp_path / "v.tif", some, photometric="minisblack", **options)
    source = formats.open_file(tmp_path / "v.tif")
    assert source.unit == unit and source.voxel_size == pytest.approx(size)


def test_tiffs_that_are_no_stack(tmp_path: Path, some: numpy.ndarray, settings: Any) -> None:
    def why(name: str, voxels: Any, **options: Any) -> str:
        tifffile.imwrite(tmp_path / name, voxels, **options)
        return refused(tmp_path / name, settings)

    assert "in colour" in why("rgb.tif", numpy.zeros((4, 30, 30, 3), "uint8"), photometric="rgb")
    assert "three are needed" in why("time.tif", some.reshape(2, 35, 40, 50), photometric="minisblack")
    assert "of type complex64" in why("c.tif", some.astype("complex64"), photometric="minisblack")
    with tifffile.TiffWriter(tmp_path / "differ.tif") as writer:
        writer.write(some[0])
        writer.write(some[0, :20])
    assert "its pages differ" in refused(tmp_path / "differ.tif", settings)


def test_files_whose_content_does_not_match_their_name(tmp_path: Path, settings: Any) -> None:
    for name in ("png.tif", "text.tiff", "empty.tif", "folder.nii", "file.zarr", "none.xyz"):
        (tmp_path / name).write_bytes(b"" if "empty" in name else b"\x89PNG\r\n\x1a\n" + bytes(300))
    (tmp_path / "folder.nii").unlink()
    (tmp_path / "folder.nii").mkdir()
    assert "it is not TIFF" in refused(tmp_path / "png.tif", settings)
    assert "it is not TIFF" in refused(tmp_path / "text.tiff", settings)
    assert "can't be imported" in refused(tmp_path / "empty.tif", settings)
    assert "it is a folder" in refused(tmp_path / "folder.nii", settings)
    assert "a Zarr store is a folder" in refused(tmp_path / "file.zarr", settings)
    assert "its suffix is none of" in refused(tmp_path / "none.xyz", settings)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_tiff(
    tmp_path: Path, some: numpy.ndarray, settings: Any, compression: str | None, share: float
) -> None:
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, some, photometric="minisblack", compression=compression)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    assert "can't be imported: it" in refused(path, settings)


def test_a_tiff_whose_pages_lead_round_in_a_circle(
    tmp_path: Path, some: numpy.ndarray, settings: Any
) -> None:
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, some, photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(path) as file:
        offsets = [page.offset for page in file.pages]
    content = bytearray(path.read_bytes())
    (entries,) = struct.unpack_from("<H", content, offsets[-1])
    struct.pack_into("<I", content, offsets[-1] + 2 + 12 * entries, offsets[3])
    path.write_bytes(content)
    assert "form a loop" in refused(path, settings)


def test_a_tiff_with_damaged_voxels(tmp_path: Path, some: numpy.ndarray, settings: Any) -> None:
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, some, photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[50]
        offset, count = page.dataoffsets[0], page.databytecounts[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = b"\xff" * count
    path.write_bytes(content)
    assert "ends too early or is damaged" in refused(path, settings)


@pytest.mark.parametrize("seed", range(30))
def test_random_damage_is_a_sentence_or_a_volume(
    tmp_path: Path, some: numpy.ndarray, settings: Any, seed: int
) -> None:
    """Random damage of the TIFF directories at the file's end never raises another exception, whatever the
    reader does.
    """
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, some[:3], photometric="minisblack", compression="zlib")
    content = bytearray(path.read_bytes())
    random = numpy.random.default_rng(seed)
    for place in random.integers(0, len(content), 40):
        content[place] = random.integers(256)
    content[:4] = b"II*\0"
    path.write_bytes(content)
    try:
        call_command("import_volume", str(path))
    except CommandError as error:
        assert "\n" not in str(error)
        assert not Volume.objects.exists()


def test_a_codec_that_is_missing_is_named(tmp_path: Path, settings: Any) -> None:
    # One page of 4 × 4 bytes with LZW.
    entries = [(256, 3, 4), (257, 3, 4), (258, 3, 8), (259, 3, 5), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    entries += [(278, 3, 4), (279, 4, 8)]
    directory = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack("<HHII", tag, kind, 1, value)
    (tmp_path / "v.tif").write_bytes(b"II*\0" + struct.pack("<I", 16) + bytes(8) + directory + bytes(4))
    assert "compressed by LZW; save it uncompressed or with Deflate" in refused(tmp_path / "v.tif", settings)


def test_a_page_that_decompresses_to_more_than_declared(
    tmp_path: Path, some: numpy.ndarray, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, some, photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[10]
        offset, count = page.dataoffsets[0], page.databytecounts[0]
    bomb = zlib.compress(bytes(2 * 2**20), 9)
    assert len(bomb) < count
    content = bytearray(path.read_bytes())
    content[offset : offset + count] = bomb.ljust(count, b"\0")
    path.write_bytes(content)
    assert "unpacks to more than its size" in refused(path, settings)


def test_a_tiff_that_claims_too_much(tmp_path: Path, settings: Any) -> None:
    path = tmp_path / "v.tif"
    tifffile.imwrite(path, numpy.zeros((1, 8, 8), "uint8"), compression="zlib", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        page: Any = file.pages[0]
        for tag in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            page.tags[tag].overwrite(60_000)
    assert "like a decompression bomb" in refused(path, settings)


# ---- Zarr


@pytest.mark.parametrize("format_", [2, 3])
@pytest.mark.parametrize("lead", [(), (1,), (1, 1)], ids=["3", "4", "5"])
def test_zarr_arrays(tmp_path: Path, some: numpy.ndarray, format_: Any, lead: tuple[int, ...]) -> None:
    shape = (*lead, *some.shape)
    zarr.create_array(
        tmp_path / "s.zarr", data=some.reshape(shape), chunks=(*lead, 32, 32, 32), zarr_format=format_
    )
    volume = imported(tmp_path / "s.zarr")
    assert (stores.open_array(volume)[:] == some).all()


def test_a_store_of_this_sites_own(volume: Any, voxels: Any) -> None:
    source = formats.open_file(volume.path)
    assert (numpy.concatenate(list(source.slabs(64))) == voxels).all()


@pytest.mark.parametrize("format_", [2, 3])
def test_ome_zarr_gives_its_finest_level_and_the_size_of_a_voxel(
    tmp_path: Path, some: numpy.ndarray, format_: Any
) -> None:
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    steps = [{"type": "scale", "scale": [40.0, 4.0, 2.0]}]
    levels = [{"path": "0", "coordinateTransformations": steps}, {"path": "1"}]
    multiscales = [{"axes": axes, "datasets": levels}]
    attributes: Any = {"multiscales": multiscales} if format_ == 2 else {"ome": {"multiscales": multiscales}}
    group = zarr.create_group(tmp_path / "s.zarr", zarr_format=format_, attributes=attributes)
    group.create_array("0", data=some)
    group.create_array("1", data=some[::2, ::2, ::2])
    source = formats.open_file(tmp_path / "s.zarr")
    assert source.shape == some.shape
    assert source.unit == "µm" and source.voxel_size == pytest.approx((0.002, 0.004, 0.04))


def store(path: Path, voxels: Any, **options: Any) -> Path:
    zarr.create_array(path, data=voxels, **options)
    return path


def test_stores_that_are_no_volume(tmp_path: Path, some: numpy.ndarray, settings: Any) -> None:
    (tmp_path / "empty.zarr").mkdir()
    assert "group of 0 arrays" in refused(tmp_path / "empty.zarr", settings)
    (tmp_path / "text.zarr").mkdir()
    (tmp_path / "text.zarr/zarr.json").write_text("[1,")
    assert "its metadata can't be read" in refused(tmp_path / "text.zarr", settings)
    assert "three are needed" in refused(store(tmp_path / "flat.zarr", some[0]), settings)
    many = store(tmp_path / "time.zarr", some.reshape(2, 35, 40, 50))
    assert "three are needed" in refused(many, settings)
    assert "of type complex64" in refused(store(tmp_path / "c.zarr", some.astype("complex64")), settings)
    two = zarr.create_group(tmp_path / "two.zarr")
    for name in "ab":
        two.create_array(name, data=some)
    assert "group of 2 arrays" in refused(tmp_path / "two.zarr", settings)


def test_a_store_whose_metadata_leads_elsewhere(tmp_path: Path, some: numpy.ndarray, settings: Any) -> None:
    store(tmp_path / "secret", some)
    attributes: Any = {"multiscales": [{"axes": [], "datasets": [{"path": "../secret"}]}]}
    zarr.create_group(tmp_path / "s.zarr", zarr_format=2, attributes=attributes)
    assert "points outside of its folder" in refused(tmp_path / "s.zarr", settings)


def test_a_codec_that_runs_code_is_refused_and_runs_none(
    tmp_path: Path, some: numpy.ndarray, settings: Any
) -> None:
    path = store(tmp_path / "s.zarr", some, zarr_format=2)
    metadata = json.loads((path / ".zarray").read_text())
    (path / ".zarray").write_text(json.dumps(metadata | {"filters": [{"id": "pickle", "protocol": 5}]}))
    assert "uses the codec pickle, which is not supported" in refused(path, settings)


def test_a_chunk_that_is_damaged_cut_short_or_too_large(
    tmp_path: Path, some: numpy.ndarray, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, spoil in (("bad", lambda data: b"\xff" * len(data)), ("short", lambda data: data[:100])):
        path = store(tmp_path / f"{name}.zarr", some, chunks=(32, 32, 32))
        chunks = sorted(file for file in (path / "c").rglob("*") if file.is_file())
        chunks[3].write_bytes(spoil(chunks[3].read_bytes()))
        assert "a part of it is damaged" in refused(path, settings)
    monkeypatch.setattr(zarrs, "_CHUNK_BYTES", 1000)
    assert "its chunks have" in refused(store(tmp_path / "large.zarr", some), settings)


def test_a_store_that_claims_too_much(tmp_path: Path, settings: Any) -> None:
    zarr.create_array(tmp_path / "s.zarr", shape=(9000, 9000, 9000), chunks=(64, 64, 64), dtype="uint8")
    assert "like a decompression bomb" in refused(tmp_path / "s.zarr", settings)


def test_units_are_those_that_a_crop_can_carry() -> None:
    from volumes.cutting import _PER_CENTIMETRE

    assert {unit for unit, _ in [*tiff._UNITS.values(), *zarrs._UNITS.values()]} <= set(_PER_CENTIMETRE)
