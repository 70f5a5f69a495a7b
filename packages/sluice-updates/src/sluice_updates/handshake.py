"""Answers many handshakes by a few queries: who the clients are, what they may read, what they missed."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from django.db import Error as DatabaseError

from . import authentication, history, rights, streams
from .authentication import Anonymous, Person
from .history import Reading, Update
from .positions import Position

BUDGET_SECONDS: Final = 0.25  # for the rights of all clients of one call

Wanted = dict[str, Position | None]
Heads = dict[str, Position]


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a client sends: its session, the streams that it names, and its positions."""

    session_key: str | None  # None: no cookie
    wanted: list[str] | None  # None: the default streams
    since: Mapping[str, Position]
    address: str = ""  # of a client that may turn out to be an anonymous reader


@dataclass(frozen=True, slots=True)
class Admission:
    """What the database says about a client."""

    reader: Person | Anonymous | None  # None: must sign in
    streams: list[str]  # requested
    allowed: set[str]
    reading: Reading | None = None  # of the allowed streams that the hub doesn't know


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to a batch of handshakes."""

    # One for each handshake. An error concerns only that one; None: there was no time for it.
    admissions: list[Admission | Exception | None]
    readings: list[tuple[Reading, Heads]]  # all that was read, and the hub's heads just before


def answer(
    handshakes: Sequence[Handshake],
    head: Callable[[str], Position | None],
    knows: Callable[[str, Position | None], bool],
    limit: int,
) -> Answers:
    """Identify the clients, and read those streams that the hub doesn't know.

    `head` returns the hub's head of a stream, and `knows` whether it needs no query for a client with this
    position. At most `limit` updates are read for all clients of one reading. Raises Django's database
    errors.
    """
    found = _identify(handshakes)
    began = time.monotonic()
    decided: dict[str, bool] = {}
    admissions: list[Admission | Exception | None] = []
    for handshake, one in zip(handshakes, found, strict=True):
        # The project's own rule of rights may be slow. Those behind must not wait for it in one long call.
        late = admissions and time.monotonic() - began > BUDGET_SECONDS
        admissions.append(None if late else _admit(handshake, one, decided))
    # The hub's window may reach back beyond what has been trimmed since, so floors are always read.
    given = {
        name
        for handshake, admission in zip(handshakes, admissions, strict=True)
        if isinstance(admission, Admission)
        for name in handshake.since.keys() & admission.allowed
    }
    floors = history.heads(given) if given else {}
    wanted: dict[int, Wanted] = {}
    for index, (handshake, admission) in enumerate(zip(handshakes, admissions, strict=True)):
        if not isinstance(admission, Admission):
            continue
        unknown: Wanted = {}
        for name in admission.streams:
            if name in admission.allowed:
                position = handshake.since.get(name)
                is_trimmed = position is not None and floors[name].is_trimmed(position)
                if is_trimmed or not knows(name, position):
                    unknown[name] = position
        if unknown:
            wanted[index] = unknown
    readings = []
    for shared, indexes in _merged(wanted):
        heads = {name: position for name in shared if (position := head(name)) is not None}
        reading = history.read(shared, limit)
        readings.append((reading, heads))
        updates = defaultdict(list)
        for update in reading.updates:
            updates[update.stream].append(update)
        for index in indexes:
            admission = admissions[index]
            assert isinstance(admission, Admission)
            admissions[index] = replace(admission, reading=_part(reading, updates, wanted[index]))
    return Answers(admissions, readings)


def _identify(handshakes: Sequence[Handshake]) -> list[authentication.Identity | Exception | None]:
    """Who the clients are; None without a session. No query if none of them has a cookie."""
    keys = [handshake.session_key for handshake in handshakes if handshake.session_key is not None]
    found = iter(authentication.identify_all(keys) if keys else ())
    return [None if handshake.session_key is None else next(found) for handshake in handshakes]


def _admit(
    handshake: Handshake, found: authentication.Identity | Exception | None, decided: dict[str, bool]
) -> Admission | Exception:
    """The client's streams and rights. An error of the project's own rule concerns only this client."""
    if isinstance(found, Exception):
        return found
    try:
        if found is None:
            names = handshake.wanted if handshake.wanted is not None else streams.default_streams(None)
            # A page that names no streams shows by its positions that it was a person's.
            asked = [*names, *filter(streams.is_personal, handshake.since)]
            allowed = rights.allowed_anonymously(asked, decided)
            return Admission(Anonymous(handshake.address) if allowed else None, names, allowed)
        person, user = found
        names = handshake.wanted if handshake.wanted is not None else streams.default_streams(user.pk)
        return Admission(person, names, rights.allowed(user, names))
    except DatabaseError:
        raise
    except Exception as error:
        return error


def _merged(wanted: Mapping[int, Wanted]) -> list[tuple[Wanted, list[int]]]:
    """As few readings as possible. Clients share one if they name no different positions of a stream."""
    readings: list[tuple[Wanted, list[int]]] = []
    for index, names in wanted.items():
        for shared, indexes in readings:
            if all(
                position is None or shared.get(name) is None or shared[name] == position
                for name, position in names.items()
            ):
                shared.update({name: position for name, position in names.items() if position is not None})
                for name in names:
                    shared.setdefault(name, None)
                indexes.append(index)
                break
        else:
            readings.append((dict(names), [index]))
    return readings


def _part(reading: Reading, updates: Mapping[str, list[Update]], wanted: Wanted) -> Reading:
    """What a reading, with its updates by stream, says to one of the clients that share it."""
    given = [name for name, position in wanted.items() if position is not None]
    return Reading(
        {name: reading.states[name] for name in wanted},
        {name: reading.recovered[name] for name in given},
        [update for name in given for update in updates.get(name, ())],
        reading.more,
    )
