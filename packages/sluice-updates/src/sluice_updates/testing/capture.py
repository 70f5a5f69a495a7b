"""What a test has published: the rows of the table, committed or to be committed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db.models import Max

from .. import history
from ..models import Update


@dataclass(frozen=True)
class Published:
    """An update as its publisher wrote it."""

    stream: str
    event: str
    payload: dict[str, Any]
    key: str | None = None

    def __str__(self) -> str:
        return f"{self.event} to {self.stream}: {json.dumps(self.payload, ensure_ascii=False)}"


@contextmanager
def captured_updates() -> Iterator[list[Published]]:
    """Capture the updates that are published in the block. The list is filled at its end.

    In a TestCase they are those that would be published if the test's transaction committed: none of a block
    that was rolled back, and none whose key was published before.
    """
    last = _updates().aggregate(last=Max("id"))["last"] or 0
    captured: list[Published] = []
    yield captured
    captured += published(after=last)


def published(*, after: int = 0) -> list[Published]:
    """The updates whose id is greater, in the order in which they were published."""
    rows = _updates().filter(id__gt=after).order_by("id").values_list("stream", "event", "payload", "key")
    return [Published(stream, event, json.loads(payload), key) for stream, event, payload, key in rows]


def assert_published(
    stream: str,
    event: str,
    payload: Mapping[str, Any] | None = None,
    *,
    key: str | None = None,
    count: int | None = None,
    among: Iterable[Published] | None = None,
) -> list[Published]:
    """Assert that such an update was published, and return those that match.

    None matches every payload and every key. `count`: exactly so many; None: one or more. `among`: the
    captured updates; without it, all in the database, which are those of this test.
    """
    candidates = published() if among is None else list(among)
    found = [
        update
        for update in candidates
        if (update.stream, update.event) == (stream, event)
        and (payload is None or update.payload == payload)
        and (key is None or update.key == key)
    ]
    if not found if count is None else len(found) != count:
        wanted = f"{event} to {stream}" + ("" if payload is None else f": {_json(payload)}")
        wanted += "" if key is None else f" with the key {key}"
        times = "was not published" if count is None else f"was published {len(found)} times, not {count}"
        raise AssertionError(f"{wanted} {times}. {_listed(candidates)}")
    return found


def assert_not_published(
    stream: str | None = None, event: str | None = None, *, among: Iterable[Published] | None = None
) -> None:
    """Assert that no such update was published. None matches every stream and every event."""
    found = [
        update
        for update in (published() if among is None else among)
        if stream in (None, update.stream) and event in (None, update.event)
    ]
    if found:
        raise AssertionError(_listed(found))


def _listed(updates: Iterable[Published]) -> str:
    lines = [f"\n  {update}" for update in updates]
    return f"Published:{''.join(lines)}" if lines else "Nothing was published."


def _json(payload: Mapping[str, Any]) -> str:
    return json.dumps(payload, ensure_ascii=False, default=repr)


def _updates() -> Any:
    return Update.objects.using(history.database().alias)
