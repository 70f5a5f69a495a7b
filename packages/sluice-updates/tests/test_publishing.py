"""publish(): what it writes, and that it belongs to the transaction."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.db import DatabaseError, connections, transaction

from sluice_updates import history, publish
from sluice_updates.models import Stream, Update
from sluice_updates.positions import ZERO
from sluice_updates.publishing import MAX_PAYLOAD_BYTES, RESERVED_EVENTS, InvalidUpdate
from sluice_updates.wakeup import sender


class Undo(Exception):
    pass


def events(stream: str) -> list[tuple[int, str]]:
    return [(update.position.offset, update.event) for update in history.read({stream: ZERO}).updates]


def test_offsets_count_up_and_tags_differ(database: str) -> None:
    for event in ("a", "b", "c"):
        publish("all", event, {})
    assert events("all") == [(1, "a"), (2, "b"), (3, "c")]
    tags = {update.position.tag for update in history.read({"all": ZERO}).updates}
    assert len(tags) == 3 and all(len(tag) == 16 and int(tag, 16) >= 0 and tag == tag.lower() for tag in tags)


def test_one_transaction_to_several_streams(database: str) -> None:
    with transaction.atomic(using=database):
        publish("user:7", "a", {})
        publish("all", "b", {})
        publish("user:7", "c", {})
    assert events("user:7") == [(1, "a"), (2, "c")] and events("all") == [(1, "b")]
    for stream in Stream.objects.all():
        last = Update.objects.get(stream=stream.name, offset=stream.head)
        assert (stream.head_tag, stream.floor, stream.floor_tag) == (last.tag, 0, "0")


def test_a_rollback_publishes_nothing_and_leaves_no_gap(database: str) -> None:
    publish("all", "before", {})
    with pytest.raises(Undo), transaction.atomic(using=database):
        publish("all", "undone", {})
        publish("user:7", "undone", {})
        raise Undo
    publish("all", "after", {})
    assert events("all") == [(1, "before"), (2, "after")]
    assert not Stream.objects.filter(name="user:7").exists()


def test_a_savepoint_that_is_rolled_back(database: str) -> None:
    with transaction.atomic(using=database):
        with pytest.raises(Undo), transaction.atomic(using=database):
            publish("all", "undone", {})
            raise Undo
        publish("all", "first", {})
        with transaction.atomic(using=database):
            publish("all", "second", {})
    assert events("all") == [(1, "first"), (2, "second")]


def test_a_key_is_published_once(database: str) -> None:
    for event in ("first", "repeated"):
        publish("all", event, {}, key="crop 5 done")
    with transaction.atomic(using=database):
        publish("user:7", "repeated elsewhere", {}, key="crop 5 done")
        publish("all", "other", {}, key="crop 6 done")
    assert events("all") == [(1, "first"), (2, "other")] and events("user:7") == []


def test_a_key_that_was_rolled_back_is_free(database: str) -> None:
    with pytest.raises(Undo), transaction.atomic(using=database):
        publish("all", "undone", {}, key="k")
        raise Undo
    publish("all", "done", {}, key="k")
    assert events("all") == [(1, "done")]


@pytest.mark.parametrize(
    "payload", [{}, {"text": 'é\u2028\u0000\\"</script>'}, {"deep": [{"n": 1.5}, None, True]}]
)
def test_the_frame_is_the_documented_one(database: str, payload: dict[str, Any]) -> None:
    publish("user:7", 'new "message" ü', payload)
    (update,) = history.read({"user:7": ZERO}).updates
    assert json.loads(update.frame) == {
        "event": 'new "message" ü',
        "payload": payload,
        "stream": "user:7",
        "position": str(update.position),
    }
    assert json.loads(update.payload_json) == payload and "\n" not in update.frame


def test_the_largest_payload(database: str) -> None:
    room = MAX_PAYLOAD_BYTES - len('{"x":""}')
    publish("all", "e", {"x": "ü" * (room // 2)})
    with pytest.raises(InvalidUpdate, match=r"32770 bytes .* at most 32768"):
        publish("all", "e", {"x": "ü" * (room // 2 + 1)})
    assert len(events("all")) == 1


circular: dict[str, Any] = {}
circular["self"] = circular
deep: Any = []
for _ in range(100_000):
    deep = [deep]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "e", {}), "name of a stream"),
        (("All", "e", {}), "name of a stream"),
        (("user:7\n", "e", {}), "name of a stream"),
        (("a" * 201, "e", {}), "name of a stream"),
        ((7, "e", {}), "name of a stream"),
        (("all", "", {}), "event"),
        (("all", "a\nb", {}), "event"),
        (("all", "e" * 101, {}), "event"),
        (("all", None, {}), "event"),
        *((("all", event, {}), "reserved for the protocol") for event in sorted(RESERVED_EVENTS)),
        (("all", "e", None), "dict"),
        (("all", "e", [1]), "dict"),
        (("all", "e", {"x": object()}), "JSON"),
        (("all", "e", {"x": float("nan")}), "JSON"),
        (("all", "e", {"x": float("inf")}), "JSON"),
        (("all", "e", {"x": "\ud800"}), "JSON"),
        (("all", "e", circular), "JSON"),
        (("all", "e", {"x": deep}), "JSON"),
        (("all", "e", {("a", "b"): 1}), "JSON"),
    ],
)
def test_what_cannot_be_published(database: str, arguments: tuple[Any, Any, Any], message: str) -> None:
    with transaction.atomic(using=database):
        with pytest.raises(InvalidUpdate, match=message) as raised:
            publish(*arguments)
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 400
        publish("all", "the transaction goes on", {})
    assert events("all") == [(1, "the transaction goes on")]


@pytest.mark.parametrize("key", ["", "k" * 201, "a\nb", 5])
def test_bad_keys(database: str, key: Any) -> None:
    with pytest.raises(InvalidUpdate, match="key"):
        publish("all", "e", {}, key=key)


class Wakes:
    """Replaces the sender, to record the wake-ups."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commits: list[list[str]] = []
        monkeypatch.setattr(sender, "is_wanted", lambda: True)
        monkeypatch.setattr(sender, "wake", self._wake)

    def _wake(self, ids: list[int]) -> None:
        self.commits.append([update.event for update in history.by_ids(ids)[1].values()])


def test_a_commit_wakes_once_and_a_rollback_never(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wakes = Wakes(monkeypatch)
    with transaction.atomic(using=database):
        with pytest.raises(Undo), transaction.atomic(using=database):
            publish("all", "undone", {})
            raise Undo
        publish("all", "a", {})
        with transaction.atomic(using=database):
            publish("all", "b", {})
        assert wakes.commits == []
    with pytest.raises(Undo), transaction.atomic(using=database):
        publish("all", "undone", {})
        raise Undo
    publish("all", "c", {}, key="k")
    publish("all", "repeated", {}, key="k")
    assert wakes.commits == [["a", "b"], ["c"]]


def test_a_wake_that_fails_does_not_hurt_the_request(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "is_wanted", lambda: True)
    monkeypatch.setattr(sender, "wake", lambda ids: 1 / 0)
    publish("all", "a", {})
    assert events("all") == [(1, "a")]


def test_the_databases_errors_are_the_callers(database: str) -> None:
    with pytest.raises(DatabaseError), transaction.atomic(using=database):
        with connections[database].cursor() as cursor:
            cursor.execute("ALTER TABLE sluice_updates_update RENAME TO elsewhere")
        publish("all", "a", {})
