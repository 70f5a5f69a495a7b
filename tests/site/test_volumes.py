"""Importing volumes, and what remains when an import fails."""

from __future__ import annotations

import gzip
import os
import shutil
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy
import pytest
from django.core.management import CommandError, call_command

from volumes import formats, stores
from volumes.models import Volume

pytestmark = pytest.mark.django_db


def nifti(path: Path, voxels: numpy.ndarray, **options: Any) -> Path:
    image = nibabel.Nifti1Image(voxels, numpy.diag([0.5, 0.5, 2, 1]), **options)
    image.header.set_xyzt_units("mm")
    image.to_filename(path)
    return path


def imported(path: Path, **options: Any) -> Volume:
    call_command("import_volume", str(path), **options)
    return Volume.objects.get()


def refused(path: Path) -> str:
    with pytest.raises(CommandError) as caught:
        call_command("import_volume", str(path))
    assert not Volume.objects.exists()
    return str(caught.value)


@pytest.fixture
def some(tmp_path: Path) -> numpy.ndarray:
    return numpy.random.default_rng(1).integers(0, 4000, (40, 70, 130), dtype="uint16")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])
def test_nifti(tmp_path: Path, some: numpy.ndarray, suffix: str) -> None:
    plain = nifti(tmp_path / f"head{suffix.lower()}", some)
    volume = imported(plain.rename(tmp_path / f"head{suffix}"), title="A head")
    assert (volume.size_x, volume.size_y, volume.size_z) == some.shape
    assert (volume.title, volume.dtype, volume.voxel_size, volume.unit) == (
        "A head",
        "uint16",
        (0.5, 0.5, 2.0),
        "mm",
    )
    assert (stores.open_array(volume)[:] == some.transpose(2, 1, 0)).all()
    assert stores.open_array(volume).chunks == (64, 64, 40)


@pytest.mark.parametrize("dtype", formats.DTYPES)
def test_each_type_of_voxel(tmp_path: Path, dtype: str) -> None:
    voxels = numpy.arange(24).reshape(2, 3, 4).astype(dtype)
    volume = imported(nifti(tmp_path / "v.nii", voxels, dtype=dtype))
    assert volume.dtype == dtype
    assert (stores.open_array(volume)[:] == voxels.transpose(2, 1, 0)).all()


def test_big_endian_is_the_same_numbers(tmp_path: Path) -> None:
    voxels = numpy.arange(24, dtype=">i2").reshape(2, 3, 4)
    image = nibabel.Nifti1Image(voxels, numpy.eye(4), nibabel.Nifti1Header(endianness=">"))
    image.header.set_data_dtype(">i2")
    image.to_filename(tmp_path / "v.nii")
    assert (stores.open_array(imported(tmp_path / "v.nii"))[:] == voxels.transpose(2, 1, 0)).all()


def test_scaled_voxels_become_real_numbers(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(numpy.linspace(-1, 1, 24).reshape(2, 3, 4), numpy.eye(4))
    image.header.set_data_dtype("int16")  # nibabel stores them so, with a slope and an intercept
    image.to_filename(tmp_path / "v.nii")
    expected = nibabel.nifti1.load(tmp_path / "v.nii").get_fdata().transpose(2, 1, 0)
    volume = imported(tmp_path / "v.nii")
    assert volume.dtype == "float32"
    assert numpy.allclose(stores.open_array(volume)[:], expected)


def test_one_point_in_time_is_a_volume(tmp_path: Path) -> None:
    voxels = numpy.arange(24, dtype="uint8").reshape(2, 3, 4, 1)
    assert (stores.open_array(imported(nifti(tmp_path / "v.nii", voxels)))[:] == voxels[..., 0].T).all()


def test_files_that_are_no_volume_are_refused_with_the_reason(tmp_path: Path, some: numpy.ndarray) -> None:
    rgb = numpy.zeros((2, 3, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    (tmp_path / "text.nii").write_text("hello " * 100)
    (tmp_path / "short.nii").write_bytes(b"\0" * 10)
    (tmp_path / "fake.nii.gz").write_bytes(b"not gzip at all" * 100)
    assert refused(tmp_path / "none.nii").endswith("none.nii does not exist.")
    assert "its suffix is none of" in refused(Path(__file__))
    assert "it is not NIfTI" in refused(tmp_path / "text.nii")
    assert "can't be imported" in refused(tmp_path / "short.nii")
    assert "can't be imported" in refused(tmp_path / "fake.nii.gz")
    assert "three are needed" in refused(nifti(tmp_path / "time.nii", some[..., None].repeat(2, axis=3)))
    assert "three are needed" in refused(nifti(tmp_path / "flat.nii", some[..., 0]))
    assert "supported are" in refused(nifti(tmp_path / "rgb.nii", rgb))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_truncated_file_leaves_nothing(
    tmp_path: Path, some: numpy.ndarray, settings: Any, suffix: str
) -> None:
    path = nifti(tmp_path / f"v{suffix}", some)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert "ends too early or is damaged" in refused(path)
    assert list(Path(settings.VOLUMES_ROOT).iterdir()) == []


def test_a_damaged_file_leaves_nothing(tmp_path: Path, some: numpy.ndarray, settings: Any) -> None:
    path = nifti(tmp_path / "v.nii.gz", some)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :: 97] = b"\xff" * len(content[len(content) // 2 :: 97])
    path.write_bytes(content)
    assert "ends too early or is damaged" in refused(path)
    assert list(Path(settings.VOLUMES_ROOT).iterdir()) == []


def claiming(path: Path, edge: int) -> Path:
    """A file of some hundred bytes that claims to contain a cube of 64-bit numbers."""
    header = nibabel.Nifti1Header()
    header.set_data_shape((edge, edge, edge))
    header.set_data_dtype("float64")
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    path.write_bytes(gzip.compress(header.binaryblock + b"\0" * 1000))
    return path


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    assert "like a decompression bomb" in refused(claiming(tmp_path / "bomb.nii.gz", 30_000))


def test_slices_that_do_not_fit_into_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, some: numpy.ndarray
) -> None:
    monkeypatch.setattr(formats, "_SLAB_BYTES", 2**18)
    assert "of them must fit into" in refused(nifti(tmp_path / "v.nii", some.repeat(2, axis=2)))


def test_a_volume_larger_than_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, some: numpy.ndarray
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    assert "MiB left" in refused(nifti(tmp_path / "v.nii", some))


def test_the_remains_of_a_killed_import_are_removed_a_day_later(
    tmp_path: Path, settings: Any, some: numpy.ndarray
) -> None:
    root = Path(settings.VOLUMES_ROOT)
    for name, age in (("old", 25 * 3600), ("new", 60)):
        left = root / f".{name}.zarr.unfinished"
        left.mkdir(parents=True)
        os.utime(left, (time.time() - age, time.time() - age))
    volume = imported(nifti(tmp_path / "v.nii", some))
    assert {path.name for path in root.iterdir()} == {".new.zarr.unfinished", volume.store}


@pytest.mark.parametrize(
    ("voxels", "expected"),
    [
        (numpy.arange(1000, dtype="uint16"), (0, 999, 4.995, 994.005)),
        (numpy.full(8, 7, dtype="int8"), (7, 7, 7, 8)),
        (numpy.full(8, numpy.nan, dtype="float32"), (0, 1, 0, 1)),
        (numpy.array([numpy.inf, -numpy.inf, 2, 3], dtype="float64"), (2, 3, 2.005, 2.995)),
        (numpy.array([0] * 999 + [5], dtype="uint8"), (0, 5, 0, 5)),
    ],
    ids=["all alike", "one value", "no number", "infinite", "nearly one"],
)
def test_the_contrast_is_learnt_while_importing(
    tmp_path: Path, voxels: numpy.ndarray, expected: tuple[float, ...]
) -> None:
    volume = imported(nifti(tmp_path / "v.nii", voxels.reshape(-1, 2, 2), dtype=voxels.dtype))
    assert (volume.least, volume.greatest, volume.low, volume.high) == pytest.approx(expected)
    assert volume.upright


def test_a_title_is_one_line(tmp_path: Path, some: numpy.ndarray) -> None:
    with pytest.raises(CommandError, match="--title must be one line"):
        call_command("import_volume", str(nifti(tmp_path / "v.nii", some)), title="a\nb")


def test_a_store_that_does_not_match_its_row_is_not_read(volume: Any) -> None:
    volume.size_x += 1
    with pytest.raises(ValueError, match="not"):
        stores.open_array(volume)
