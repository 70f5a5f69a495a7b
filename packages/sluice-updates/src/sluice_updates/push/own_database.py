"""The identity of the hub's database, by which the hub recognises wake-ups of other databases."""

from __future__ import annotations

import logging

from django.db.backends.base.base import BaseDatabaseWrapper

from .. import identity
from ..metrics import count

logger = logging.getLogger(__name__)


class OwnDatabase:
    """Decides which wake-ups the hub takes. The poller reads the identity.

    A dropped wake-up costs up to a second: the poll finds its updates if they are of this database.
    """

    def __init__(self) -> None:
        self.identity: str | None = None  # None: not known yet, or it can't be read
        self.in_doubt = False  # another one arrived: this database's own may have been renewed
        self._stranger: str | None = None
        self._told: set[str] = set()

    def is_own(self, named: str | None) -> bool:
        """Whether a wake-up that names this database is one of ours. If not, it is counted."""
        if self.identity is None:
            return False
        if named == self.identity:
            return True
        count("foreign_wake_ups")
        if named is None:
            self._tell(
                "nameless",
                "a wake-up that names no database was dropped: a publisher runs an earlier version of"
                " sluice_updates; restart it. Until then, its updates arrive by the poll, within a second",
            )
        else:
            self._stranger = named
            self.in_doubt = True
        return False

    def learn(self, found: str | identity.Unknown) -> None:
        """Take what `read` returned."""
        self.in_doubt = False
        if isinstance(found, identity.Unknown):
            self.identity = None
            self._tell("unknown", f"wake-ups are dropped, so updates arrive by the poll: {found}")
            return
        self.identity = found
        self._told.discard("unknown")
        if self._stranger not in (None, found):
            self._tell(
                "foreign",
                f"wake-ups of another database ({self._stranger}) arrive through the channel layer and are"
                " dropped: another site, a test run or a copy of this site uses the same vhost of the broker;"
                " give each a vhost of its own",
            )
        self._stranger = None

    def _tell(self, what: str, text: str) -> None:
        """Log it once."""
        if what not in self._told:
            self._told.add(what)
            logger.warning(text)


def read(connection: BaseDatabaseWrapper) -> str | identity.Unknown:
    """Read the identity, in the poller's thread. An identity that can't be read must not fail the poll."""
    try:
        return identity.read(connection)
    except identity.Unknown as error:
        return error
