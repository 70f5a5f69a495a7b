"""The judge must find every kind of violation, and none where there is none. No other test checks the
judge.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.client.ledger import Arrived, Broken, Connected, Ended, Entry, Hello, Ledger
from harness.client.positions import START, Position
from harness.judge import Report, Row, Truth, judge

STREAM = "user:7"


def tag(offset: int, stream: str = STREAM) -> str:
    return f"{random.Random(f'{stream}/{offset}').getrandbits(64):016x}"


def at(offset: int, stream: str = STREAM) -> Position:
    return Position(offset, tag(offset, stream)) if offset else START


def table(head: int, stream: str = STREAM, floor: int = 0) -> Truth:
    rows = {
        offset: Row(tag(offset, stream), "new-message", {"n": offset})
        for offset in range(floor + 1, head + 1)
    }
    return Truth({stream: rows}, {stream: at(head, stream)}, {stream: floor})


def update(offset: int, stream: str = STREAM, **changed: Any) -> Arrived:
    kept: dict[str, Any] = {
        "stream": stream,
        "position": at(offset, stream),
        "event": "new-message",
        "payload": {"n": offset},
    }
    return Arrived(**(kept | changed))


def connect(since: Position | None = None, stream: str = STREAM, transport: str = "websocket") -> Connected:
    return Connected(transport, {} if since is None else {stream: since}, frozenset({stream}))


def hello(head: int, recovered: bool | None = None, stream: str = STREAM) -> Hello:
    return Hello({stream: at(head, stream)}, {stream: recovered}, frozenset())


def run(truth: Truth, *entries: Entry, left: bool = False, published: int = 5, **options: Any) -> Report:
    return judge(truth, [Ledger("client", list(entries), left)], published=published, **options)


def violation(report: Report) -> str:
    assert len(report.violations) == 1, report
    with pytest.raises(AssertionError):
        report.check()
    return report.violations[0]


def test_a_faultless_client_is_passed_and_counted() -> None:
    report = run(table(3), connect(), hello(1), update(2), update(3)).check()
    assert report.counts["updates owed"] == report.counts["updates arrived"] == 2


def test_a_resumed_client_is_owed_all_from_its_first_position() -> None:
    report = run(
        table(4),
        connect(),
        hello(0),
        update(1),
        Ended(1006),
        connect(at(1)),
        hello(3, True),
        update(2),
        update(3),
        update(4),
    ).check()
    assert (report.counts["updates owed"], report.counts["recovered"]) == (4, 1)


def test_since_of_a_first_connection_is_owed_from_there() -> None:
    assert (
        run(table(4), connect(at(2)), hello(4, True), update(3), update(4)).check().counts["updates owed"]
        == 2
    )


def test_an_anonymous_client_may_read_what_is_public() -> None:
    entries = [connect(stream="page:5"), hello(1, stream="page:5"), update(2, "page:5")]
    ledger = Ledger("client", entries, anonymous=True)
    judge(table(2, "page:5"), [ledger], published=1).check()


@pytest.mark.parametrize("denied", [False, True])
def test_an_anonymous_client_that_is_told_about_a_persons_stream_is_seen(denied: bool) -> None:
    named = Hello({}, {}, frozenset({STREAM})) if denied else hello(1)
    ledger = Ledger("client", [connect(), named], anonymous=True, passing=True)
    report = judge(table(1), [ledger], published=1)
    assert violation(report) == "client: nobody is signed in, but hello names ['user:7']; owed is 4001"


def test_a_missing_end_is_seen() -> None:
    assert "never arrived: 3 … 3" in violation(run(table(3), connect(), hello(0), update(1), update(2)))


def test_a_client_that_left_is_owed_up_to_its_last_position_only() -> None:
    run(table(9), connect(), hello(0), update(1), update(2), left=True).check()


def test_a_gap_is_seen_and_later_updates_of_that_connection_are_no_violations() -> None:
    entries = (
        connect(),
        hello(0),
        update(1),
        update(3),
        update(4),
        Ended(1006),
        connect(at(1)),
        hello(4, True),
    )
    assert "a gap" in violation(run(table(4), *entries, update(2), update(3), update(4)))


def test_a_double_on_one_connection_is_seen() -> None:
    assert "again or out of order" in violation(
        run(table(2), connect(), hello(0), update(1), update(1), update(2))
    )


def test_a_double_of_another_connection_is_counted_only() -> None:
    polled = connect(at(0), transport="polling"), hello(2, True), update(1), update(2)
    report = run(table(2), connect(), hello(0), update(1), update(2), Ended(1006), *polled).check()
    assert report.counts["doubles of another connection"] == 2


def test_disorder_is_seen() -> None:
    report = run(table(3), connect(), hello(0), update(2), update(1), update(3))
    assert any("a gap" in violation for violation in report.violations)


def test_an_update_that_was_rolled_back_is_seen() -> None:
    report = run(table(1), connect(), hello(0), update(1), update(2))
    assert any("the table does not hold" in violation for violation in report.violations)


def test_another_tag_is_seen() -> None:
    forged = update(1, position=Position(1, "0" * 16))
    report = run(table(1), connect(), hello(0), forged)
    assert any("the table does not hold" in violation for violation in report.violations)


@pytest.mark.parametrize("changed", [{"payload": {"n": 99}}, {"event": "other"}])
def test_another_content_is_seen(changed: dict[str, Any]) -> None:
    assert "the table holds" in violation(run(table(1), connect(), hello(0), update(1, **changed)))


def test_a_stream_that_was_not_greeted_is_seen() -> None:
    assert "hello did not name" in violation(
        run(table(1), connect(), hello(0), update(1), update(1, "user:8"))
    )


def test_an_update_before_hello_is_seen() -> None:
    assert "hello did not name" in violation(run(table(1), connect(), update(1), hello(0), update(1)))


def test_hello_for_other_streams_than_those_asked_for_is_seen() -> None:
    report = run(table(1), connect(), hello(0), update(1), Ended(1006), connect(at(1)), hello(0, None, "all"))
    assert any("hello names ['all']" in violation for violation in report.violations)


def test_unrecovered_without_cause_is_seen() -> None:
    entries = connect(), hello(0), update(1), Ended(1006), connect(at(1)), hello(2, False), update(3)
    assert "nothing provoked it" in violation(run(table(3), *entries))


def test_a_provoked_loss_moves_what_is_owed() -> None:
    entries = connect(), hello(0), update(1), Ended(4010), connect(at(1)), hello(2, False), update(3)
    report = run(table(3), *entries, provoked=lambda ledger, stream: True).check()
    assert report.counts["updates owed"] == 2  # the one before and the one after


def test_updates_discarded_by_a_restore_are_only_counted() -> None:
    lost = update(2, position=Position(2, "f" * 16))
    entries = (
        connect(),
        hello(0),
        update(1),
        lost,
        Ended(4010),
        connect(lost.position),
        hello(2, False),
        update(3),
    )
    report = run(table(3), *entries, provoked=lambda ledger, stream: True).check()
    assert report.counts["of a past that was taken back"] == 1


def test_recovered_beyond_the_head_is_seen() -> None:
    report = run(table(1), connect(at(3)), hello(1, True), left=True)
    assert any("though the head is" in violation for violation in report.violations)


@pytest.mark.parametrize(("since", "recovered"), [(None, True), (None, False), (at(0), None)])
def test_recovered_is_there_if_and_only_if_since_was(since: Position | None, recovered: bool | None) -> None:
    report = run(
        table(1), connect(since), hello(0, recovered), update(1), provoked=lambda ledger, stream: True
    )
    assert any("hello says recovered" in violation for violation in report.violations)


def test_a_broken_protocol_is_seen() -> None:
    assert "reserved bits" in violation(
        run(table(1), connect(), hello(0), update(1), Broken("reserved bits set"))
    )


def test_trimmed_updates_are_compared_by_order_only() -> None:
    report = run(table(3, floor=2), connect(), hello(0), update(1), update(2), update(3)).check()
    assert report.counts["compared by order only (trimmed)"] == 2


def test_a_table_with_a_hole_is_seen() -> None:
    truth = table(3)
    del truth.rows[STREAM][2]
    report = run(truth, connect(), hello(2), update(3))
    assert any("the table itself" in violation for violation in report.violations)


def test_nothing_published_shows_nothing() -> None:
    assert "nothing was published" in violation(run(table(1), connect(), hello(0), update(1), published=0))


def test_a_client_that_was_owed_nothing_shows_nothing() -> None:
    assert "owed nothing" in violation(run(table(1), connect(), hello(1)))


def test_no_client_shows_nothing() -> None:
    assert "no client" in violation(judge(table(1), [], published=1))


def test_a_denied_stream_owes_nothing_and_may_bring_nothing() -> None:
    denied = Hello({"all": START}, {"all": None}, frozenset({STREAM}))
    asked = Connected("websocket", {}, frozenset({"all", STREAM}))
    truth = table(1, "all")
    truth.rows |= table(1).rows
    truth.heads |= table(1).heads
    run(truth, asked, denied, update(1, "all")).check()
    assert "hello did not name" in violation(run(truth, asked, denied, update(1, "all"), update(1)))


@given(st.integers(2, 30), st.integers(0, 10_000))
def test_any_single_change_to_a_faultless_delivery_is_seen(count: int, seed: int) -> None:
    delivered: list[Entry] = [update(offset) for offset in range(1, count + 1)]
    assert not run(table(count), connect(), hello(0), *delivered).violations
    chance = random.Random(seed)
    index = chance.randrange(count)
    changed = list(delivered)
    match chance.choice(["drop", "double", "swap", "forge"]):
        case "drop":
            del changed[index]
        case "double":
            changed.insert(index, changed[index])
        case "swap":
            other = (index + 1 + chance.randrange(count - 1)) % count
            changed[index], changed[other] = changed[other], changed[index]
        case "forge":
            changed[index] = update(index + 1, payload="forged")
    assert run(table(count), connect(), hello(0), *changed).violations
