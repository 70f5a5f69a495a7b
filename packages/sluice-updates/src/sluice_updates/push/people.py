"""Who is connected to this process: each connection, and each person's connections."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Protocol

from .. import conf
from ..authentication import Person
from .window import Subscription


class Member(Protocol):
    """A connection of a person who is signed in. A Channels consumer is a member without subscriptions."""

    TRANSPORT: ClassVar[str]  # for metrics
    person: Person | None

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

    def __len__(self) -> int:
        """How many people are connected."""
        return len(self._by_user)

    def enter(self, connection: Member, person: Person) -> None:
        """Add a connection of this person."""
        self.connections.add(connection)
        self._by_user[person.user_id].add(connection)

    def leave(self, connection: Member, person: Person | None) -> None:
        """Remove a connection."""
        self.connections.discard(connection)
        if person is not None:
            theirs = self._by_user[person.user_id]
            theirs.discard(connection)
            if not theirs:
                del self._by_user[person.user_id]

    def is_full(self, person: Person) -> bool:
        """Whether this person has the maximum number of connections."""
        return len(self.of(person.user_id)) >= conf.connections_per_user()

    def of(self, user_id: Any) -> set[Member]:
        """A user's connections."""
        return self._by_user.get(user_id, set())
