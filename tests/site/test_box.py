"""Boxes: valid ones, and the messages about invalid ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volumes.box import BadBox, Box, Range, parse_box

WHOLE = Box(Range(0, 10), Range(0, 20), Range(0, 30))
GOOD: dict[str, Any] = {"x": [0, 10], "y": [5, 6], "z": [29, 30]}


def test_a_box() -> None:
    box = parse_box(GOOD, WHOLE, 100)
    assert box == Box(Range(0, 10), Range(5, 6), Range(29, 30))
    assert box.voxels == 10
    assert box.as_json() == GOOD


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (None, "box"),
        ([], "box"),
        ("x", "box"),
        ({}, "box.x"),
        (GOOD | {"w": [0, 1]}, "box.w"),
        (GOOD | {"x": None}, "box.x"),
        (GOOD | {"x": 5}, "box.x"),
        (GOOD | {"x": [1]}, "box.x"),
        (GOOD | {"x": [1, 2, 3]}, "box.x"),
        (GOOD | {"x": {"0": 1, "1": 2}}, "box.x"),
        (GOOD | {"y": [True, 2]}, "box.y"),
        (GOOD | {"y": [0.0, 2.0]}, "box.y"),
        (GOOD | {"y": [0, float("nan")]}, "box.y"),
        (GOOD | {"y": ["0", "2"]}, "box.y"),
        (GOOD | {"y": [0, None]}, "box.y"),
        (GOOD | {"z": [-1, 2]}, "box.z"),
        (GOOD | {"z": [0, 31]}, "box.z"),
        (GOOD | {"z": [0, 2**200]}, "box.z"),
        (GOOD | {"z": [-(2**200), 2]}, "box.z"),
        (GOOD | {"z": [31, 32]}, "box.z"),
        (GOOD | {"z": [3, 2]}, "box.z"),
        (GOOD | {"z": [2, 2]}, "box.z"),
        (GOOD | {"z": [30, 30]}, "box.z"),
    ],
)
def test_invalid_boxes(value: Any, field: str) -> None:
    with pytest.raises(BadBox) as caught:
        parse_box(value, WHOLE, 10**9)
    assert caught.value.field == field
    assert str(caught.value).startswith(field)


def test_the_limit_is_named() -> None:
    parse_box(GOOD, WHOLE, 10)
    with pytest.raises(BadBox, match="box has 10 voxels, at most 9 are allowed") as caught:
        parse_box(GOOD, WHOLE, 9)
    assert (caught.value.field, caught.value.limit) == ("box", 9)


def test_outside_names_the_size() -> None:
    with pytest.raises(BadBox, match="which has 20 voxels along y") as caught:
        parse_box(GOOD | {"y": [0, 21]}, WHOLE, 10**9)
    assert caught.value.limit == 20


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("xyzw"), inner),
)


@settings(database=None)
@given(JSON)
def test_anything_is_a_box_inside_or_refused(value: Any) -> None:
    try:
        box = parse_box(value, WHOLE, 1000)
    except BadBox:
        return
    assert all(0 <= r.start < r.stop <= whole.stop for r, whole in zip(box, WHOLE, strict=True))
    assert 0 < box.voxels <= 1000
