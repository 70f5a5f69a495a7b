"""Who is connected to this process: each connection, and each person's connections."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any, ClassVar, Protocol

from .. import conf, limits
from ..authentication import Anonymous, Person
from .window import Subscription


class Member(Protocol):
    """A connection. A Channels consumer is a member without subscriptions."""

    TRANSPORT: ClassVar[str]  # for metrics
    reader: Person | Anonymous | None  # None: not known yet

    @property
    def subscriptions(self) -> Mapping[str, Subscription]:
        """By stream."""

    def close(self, code: int) -> None:
        """End the connection with this close code."""

    def restart(self) -> None:
        """Tell the client that the server restarts."""

    def deny(self, names: Iterable[str]) -> None:
        """End the subscriptions to streams that the client may no longer read."""


class People:
    """The connections of this process, by person."""

    def __init__(self) -> None:
        self.connections: set[Member] = set()
        self._by_user: defaultdict[Any, set[Member]] = defaultdict(set)
        # Anonymous readers' connections, each with the number of its streams.
        self._by_address: defaultdict[str, dict[Member, int]] = defaultdict(dict)
        self._anonymous: dict[Member, None] = {}
        self._anonymous_streams = 0

    def __len__(self) -> int:
        """How many people are connected who are signed in."""
        return len(self._by_user)

    @property
    def anonymous(self) -> Collection[Member]:
        """The connections of readers who are not signed in."""
        return self._anonymous.keys()

    def enter(self, connection: Member, reader: Person | Anonymous, streams: int = 0) -> None:
        """Add a connection of this reader, who may follow so many streams."""
        self.connections.add(connection)
        if isinstance(reader, Person):
            self._by_user[reader.user_id].add(connection)
        else:
            self._by_address[reader.address][connection] = streams
            self._anonymous[connection] = None
            self._anonymous_streams += streams

    def leave(self, connection: Member, reader: Person | Anonymous | None) -> None:
        """Remove a connection."""
        self.connections.discard(connection)
        if isinstance(reader, Person):
            theirs = self._by_user[reader.user_id]
            theirs.discard(connection)
            if not theirs:
                del self._by_user[reader.user_id]
        elif reader is not None and connection in self._anonymous:
            del self._anonymous[connection]
            here = self._by_address[reader.address]
            self._anonymous_streams -= here.pop(connection)
            if not here:
                del self._by_address[reader.address]

    def is_full(self, person: Person) -> bool:
        """Whether this person has the maximum number of connections."""
        return len(self.of(person.user_id)) >= conf.connections_per_user()

    def crowd(self, reader: Anonymous, streams: int) -> str | None:
        """The limit that one more connection of this reader, with so many streams, would exceed."""
        here = self._by_address.get(reader.address, {})
        most = conf.anonymous_connections()
        if (
            len(self._anonymous) >= most
            or self._anonymous_streams + streams > limits.ANONYMOUS_STREAMS * most
        ):
            return "process"
        if len(here) >= conf.connections_per_address():
            return "connections"
        if sum(here.values()) + streams > conf.subscriptions_per_address():
            return "subscriptions"
        return None

    def of(self, user_id: Any) -> set[Member]:
        """A user's connections."""
        return self._by_user.get(user_id, set())
