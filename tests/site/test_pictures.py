"""Slices over HTTP: the right voxels in the right shades, downloaded once."""

from __future__ import annotations

import io
from typing import Any

import numpy
import pytest
from django.test import Client
from PIL import Image

from volumes import slices, stores


def url(volume: Any, axis: str, index: int, query: str = "", version: str | None = None) -> str:
    return f"/volumes/{volume.pk}/slices/{version or volume.version}/{axis}/{index}.png{query}"


def pixels(answer: Any) -> numpy.ndarray:
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/png"), answer.content
    image = Image.open(io.BytesIO(answer.content))
    assert image.mode == "L"
    return numpy.asarray(image)


@pytest.mark.parametrize("axis", "xyz")
@pytest.mark.parametrize("end", [0, -1])
def test_each_axis_shows_its_plane(as_ada: Client, volume: Any, voxels: Any, axis: str, end: int) -> None:
    index = end % getattr(volume, f"size_{axis}")
    plane = numpy.take(voxels, index, axis="zyx".index(axis)).astype(float)
    low, high = float(plane.min()), float(plane.max())
    shown = pixels(as_ada.get(url(volume, axis, index, f"?low={low}&high={high}")))
    assert shown.shape == plane.shape  # rows are the later of the two axes
    assert numpy.abs(shown - (plane - low) / (high - low) * 255).max() <= 1


def test_without_a_window_it_is_the_volumes(as_ada: Client, volume: Any, voxels: Any) -> None:
    shown = pixels(as_ada.get(url(volume, "z", 15)))
    low, high = volume.window
    assert numpy.abs(shown - numpy.clip((voxels[15] - low) / (high - low), 0, 1) * 255).max() <= 1


def test_a_volume_without_a_window_is_shown_slice_by_slice(as_ada: Client, volume: Any) -> None:
    volume.low = volume.high = None
    volume.save()
    shown = pixels(as_ada.get(url(volume, "z", 0)))
    assert (shown.min(), shown.max()) == (0, 255)


def test_a_browser_caches_it_and_requests_nothing_twice(
    as_ada: Client, volume: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = as_ada.get(url(volume, "z", 3))
    assert first["Cache-Control"] == "private, max-age=31536000, immutable"
    etag = first["ETag"]
    assert etag.startswith('"') and len(etag) > 20  # a strong ETag
    monkeypatch.setattr(stores, "open_array", None)  # no voxel may be read
    for header in (etag, f'W/{etag}, "other"', "*"):
        again = as_ada.get(url(volume, "z", 3), headers={"If-None-Match": header})
        assert (again.status_code, again.content, again["ETag"]) == (304, b"", etag)
        assert again["Cache-Control"] == first["Cache-Control"]


def test_each_picture_has_an_etag_of_its_own(as_ada: Client, volume: Any) -> None:
    wanted = [("z", 3, ""), ("z", 4, ""), ("y", 3, ""), ("z", 3, "?low=0&high=9"), ("z", 3, "?low=0&high=8")]
    assert len({as_ada.get(url(volume, *which))["ETag"] for which in wanted}) == len(wanted)


@pytest.mark.parametrize(
    ("axis", "index", "query", "status", "field"),
    [
        ("w", 0, "", 404, "axis"),
        ("z", 30, "", 404, "index"),
        ("z", 10**30, "", 404, "index"),
        ("z", 0, "?low=1", 400, "high"),
        ("z", 0, "?high=1", 400, "low"),
        ("z", 0, "?low=a&high=1", 400, "low"),
        ("z", 0, "?low=0&high=inf", 400, "high"),
        ("z", 0, "?low=nan&high=1", 400, "low"),
        ("z", 0, "?low=2&high=2", 400, "high"),
    ],
)
def test_errors_are_not_cached(
    as_ada: Client, volume: Any, axis: str, index: int, query: str, status: int, field: str
) -> None:
    answer = as_ada.get(url(volume, axis, index, query))
    assert (answer.status_code, answer.json()["error"]["field"]) == (status, field)
    assert "no-store" in answer["Cache-Control"]


def test_another_imports_slices_are_not_there(as_ada: Client, volume: Any) -> None:
    answer = as_ada.get(url(volume, "z", 0, version="0123456789ab"))
    assert (answer.status_code, answer.json()["error"]["field"]) == (404, "version")
    volume.pk += 1
    assert as_ada.get(url(volume, "z", 0)).json()["error"]["field"] == "volume"


def test_signed_out_is_401_and_other_methods_405(as_ada: Client, volume: Any) -> None:
    answer = Client().get(url(volume, "z", 0))
    assert answer.status_code == 401 and "no-store" in answer["Cache-Control"]
    assert as_ada.post(url(volume, "z", 0)).status_code == 405
    assert as_ada.head(url(volume, "z", 0)).status_code == 200


def test_a_slice_that_is_too_large_is_refused(
    as_ada: Client, volume: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "MAX_VOXELS", 2500)
    answer = as_ada.get(url(volume, "z", 0))
    assert answer.status_code == 422
    assert answer.json()["error"] == {
        "field": "axis",
        "detail": "a slice along z has 7000 voxels, at most 2500 are shown",
        "limit": 2500,
    }
    assert as_ada.get(url(volume, "x", 0)).status_code == 200


def test_a_long_slice_is_thinned_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "MAX_SIDE", 16)
    array = numpy.arange(2 * 3 * 40, dtype="uint8").reshape(2, 3, 40)
    shown = numpy.asarray(Image.open(io.BytesIO(slices.whole_slice(array, "z", 1, (0, 255)))))
    assert (shown == array[1, :, ::3]).all()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32", "float64"])
def test_shades_are_right_at_the_ends_of_each_type(dtype: str) -> None:
    kind = numpy.dtype(dtype)
    ends = numpy.finfo(kind) if kind.kind == "f" else numpy.iinfo(kind)
    array = numpy.array([[[ends.min, 0, 100, ends.max]]], dtype=dtype)
    shown = numpy.asarray(Image.open(io.BytesIO(slices.whole_slice(array, "z", 0, (0.0, 100.0)))))
    assert shown.tolist() == [[0, 0, 255, 255]]


def test_nan_is_black() -> None:
    array = numpy.array([[[numpy.nan, numpy.inf, -numpy.inf, 0.5]]], dtype="float32")
    with numpy.errstate(all="raise"):
        shown = numpy.asarray(Image.open(io.BytesIO(slices.whole_slice(array, "z", 0, (0.0, 1.0)))))
    assert shown.tolist() == [[0, 255, 0, 127]]


def test_a_store_that_is_broken_is_a_500_in_words(as_ada: Client, volume: Any, caplog: Any) -> None:
    for path in volume.path.rglob("*"):
        if path.is_file() and path.name != "zarr.json":
            path.write_bytes(b"broken")
    answer = as_ada.get(url(volume, "z", 0))
    assert (answer.status_code, answer.json()["error"]["field"]) == (500, "volume")
    assert "no-store" in answer["Cache-Control"] and "ETag" not in answer
    assert f"slice z = 0 of volume {volume.pk}" in caplog.text
