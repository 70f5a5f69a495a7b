"""The window of a followed stream, in isolation."""

from __future__ import annotations

import pytest

from sluice_updates import limits
from sluice_updates.positions import ZERO, Position
from sluice_updates.push.frames import UpdateFrame
from sluice_updates.push.window import FollowedStream


def test_what_the_window_can_replay() -> None:
    stream = FollowedStream("all", Position(10, "a"))
    frames = _frames(11, 14)
    for frame in frames:
        stream.append(frame)
    assert stream.head == frames[-1].position
    assert stream.after(10) == frames
    assert stream.after(12) == frames[2:]
    assert stream.after(14) == []
    assert stream.after(9) is None
    assert [stream.tag_at(offset) for offset in (9, 10, 11, 14, 15)] == [None, "a", "t11", "t14", None]
    assert stream.knows(None)
    assert stream.knows(Position(12, "t12"))
    assert not stream.knows(Position(12, "other"))
    assert not stream.knows(Position(15, "t15"))


def test_the_window_of_an_empty_stream() -> None:
    stream = FollowedStream("all", ZERO)
    assert stream.knows(ZERO)
    assert stream.after(0) == []


def test_the_window_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WINDOW_BYTES", 5000)
    stream = FollowedStream("all", ZERO)
    for frame in _frames(1, 100):
        stream.append(frame)
    assert stream.size <= 5000
    assert stream.base == Position(100 - len(stream.window), f"t{100 - len(stream.window)}")
    assert 0 < len(stream.window) < 20
    stream.append(UpdateFrame("all", 101, "t101", "x" * 10_000))
    assert [frame.offset for frame in stream.window] == [101]


def test_older_updates_are_put_in_front_of_the_window() -> None:
    stream = FollowedStream("all", Position(5, "t5"))
    stream.append(UpdateFrame("all", 6, "t6", "{}"))
    stream.prepend(Position(2, "t2"), _frames(3, 6))
    assert stream.base == Position(2, "t2")
    assert [frame.offset for frame in stream.after(2) or []] == [3, 4, 5, 6]


@pytest.mark.parametrize(
    ("base", "first", "last"),
    [(5, 6, 6), (2, 3, 4), (2, 3, 2)],
    ids=["nothing from before", "does not reach the window", "empty"],
)
def test_updates_that_do_not_fit_are_ignored(base: int, first: int, last: int) -> None:
    stream = FollowedStream("all", Position(5, "t5"))
    stream.prepend(Position(base, f"t{base}"), _frames(first, last))
    assert stream.base == Position(5, "t5")
    assert not stream.window


def _frames(first: int, last: int) -> list[UpdateFrame]:
    return [UpdateFrame("all", offset, f"t{offset}", "{}") for offset in range(first, last + 1)]
