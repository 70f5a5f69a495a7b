"""Reads the table of updates for the judge."""

from __future__ import annotations

import json

from .client.positions import Position
from .judge import Row, Truth
from .target import Target


def read_heads(stack: Target) -> dict[str, Position]:
    """Head of every stream that has updates."""
    rows = stack.psql("SELECT name, head, head_tag FROM sluice_updates_stream")
    return {name: Position(int(head), tag) for name, head, tag in rows}


def read_truth(stack: Target) -> Truth:
    """The whole table, in one snapshot."""
    query = """
        SELECT json_build_object(
            'streams', (SELECT coalesce(json_agg(json_build_array(name, head, head_tag, floor)), '[]')
            FROM sluice_updates_stream), 'updates', (SELECT
            coalesce(json_agg(json_build_array(stream, "offset",
            tag, event, payload)), '[]') FROM sluice_updates_update))
    """
    ((text,),) = stack.psql(query)
    found = json.loads(text)
    truth = Truth()
    for name, head, tag, floor in found["streams"]:
        truth.heads[name] = Position(head, tag)
        truth.floors[name] = floor
        truth.rows[name] = {}
    for stream, offset, tag, event, payload in found["updates"]:
        truth.rows.setdefault(stream, {})[offset] = Row(tag, event, json.loads(payload))
    return truth


def published(before: dict[str, Position], truth: Truth) -> int:
    """Number of updates added to the table since its heads were `before`."""
    return sum(
        head.offset - (before[stream].offset if stream in before else 0)
        for stream, head in truth.heads.items()
    )
