"""The position syntax in a client's query. Everything else is refused."""

from urllib.parse import quote, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluice_updates import streams
from sluice_updates.positions import (
    MAX_OFFSET,
    MAX_STREAMS,
    MAX_URL_BYTES,
    ZERO,
    MalformedQuery,
    Position,
    format_positions,
    parse_positions,
    parse_since,
    parse_streams,
)

TAG = "9f3ac1d20b7e4455"

names = st.from_regex(streams.NAME, fullmatch=True).filter(lambda name: len(name) < 100)
tags = st.text("0123456789abcdef", min_size=16, max_size=16)
positions = st.just(ZERO) | st.builds(Position, st.integers(1, MAX_OFFSET), tags)
vectors = st.dictionaries(names, positions, max_size=20)


@given(positions)
def test_a_position_reads_back(position: Position) -> None:
    assert Position.parse(str(position)) == position


@given(st.text(max_size=40))
@example("0-0\n")
@example("１-9f3ac1d20b7e4455")
def test_only_the_canonical_text_is_a_position(text: str) -> None:
    try:
        assert str(Position.parse(text)) == text
    except MalformedQuery as error:
        assert "\n" not in error.detail and len(error.detail) < 400


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-",
        "0-0000000000000000",
        f"0-{TAG}",
        f"00-{TAG}",
        f"01-{TAG}",
        f"-1-{TAG}",
        f"+1-{TAG}",
        f"1-{TAG[:15]}",
        f"1-{TAG}0",
        f"1-{TAG.upper()}",
        f" 1-{TAG}",
        f"1-{TAG}\n",
        "1-0",
        f"{MAX_OFFSET + 1}-{TAG}",
        f"{10**30}-{TAG}",
        f"1.0-{TAG}",
        f"1e3-{TAG}",
    ],
)
def test_near_misses(text: str) -> None:
    with pytest.raises(MalformedQuery):
        Position.parse(text)


@given(vectors)
def test_since_reads_back_through_a_query(vector: dict[str, Position]) -> None:
    text = format_positions(vector)
    assert parse_positions(text) == vector
    if len(query := urlencode({"since": text})) <= MAX_URL_BYTES:
        assert parse_since(query) == parse_since(query.encode()) == vector


@given(st.lists(names, min_size=1, max_size=20, unique=True))
def test_streams_read_back_in_order(wanted: list[str]) -> None:
    for query in (f"streams={','.join(wanted)}", urlencode({"streams": ",".join(wanted)})):
        if len(query) <= MAX_URL_BYTES:
            assert parse_streams(query) == wanted


@given(st.text(max_size=300) | st.binary(max_size=300))
@example("since=%ff")
@example("since=%zz/0-0")
@example(b"\xff\xfe=since")
@example("streams=a&since=b/0-0&streams=c")
def test_any_query_is_read_or_malformed(query: str | bytes) -> None:
    for parse in (parse_streams, parse_since):
        try:
            parse(query)
        except MalformedQuery as error:
            assert error.detail.isprintable()


def test_without_parameters() -> None:
    assert parse_streams("since=all/0-0&x=1") is None
    assert parse_since("streams=all&x=1") == {}
    assert parse_since("since=") == {}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("streams=", "streams"),
        ("streams=all,", "streams"),
        ("streams=all,,user:7", "streams"),
        ("streams=all,all", "streams"),
        ("streams=All", "streams"),
        ("streams=user:", "streams"),
        ("streams=user:7:8", "streams"),
        ("streams=user:%0A", "streams"),
        ("streams=user:" + "x" * 65, "streams"),
        ("streams=all&streams=user:7", "streams"),
        ("streams=" + ",".join(f"s:{n}" for n in range(MAX_STREAMS + 1)), "streams"),
        ("streams=%FF", ""),
        ("since=all", "since"),
        ("since=all/", "since"),
        ("since=/0-0", "since"),
        ("since=all/0-0,", "since"),
        ("since=all/0-0/0-0", "since"),
        (f"since=all/1-{TAG},all/2-{TAG}", "since"),
        ("since=all/0-0&since=all/0-0", "since"),
        ("since=" + ",".join(f"s:{n}/0-0" for n in range(MAX_STREAMS + 1)), "since"),
    ],
)
def test_malformed_queries_name_the_parameter(query: str, field: str) -> None:
    with pytest.raises(MalformedQuery) as raised:
        parse_streams(query)
        parse_since(query)
    assert raised.value.field == field


def test_the_upper_limits() -> None:
    wanted = [f"s:{n}" for n in range(MAX_STREAMS)]
    assert parse_streams("streams=" + quote(",".join(wanted))) == wanted
    with pytest.raises(MalformedQuery):
        parse_streams("x=" + "y" * MAX_URL_BYTES)


def test_names() -> None:
    assert streams.user_stream(7) == "user:7" and streams.project_stream("a-b") == "project:a-b"
    assert all(map(streams.is_valid, streams.default_streams(7)))
    assert not streams.is_valid("user:7\n")
