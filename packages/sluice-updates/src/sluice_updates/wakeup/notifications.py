"""PostgreSQL's notifications: the channel, what a notification carries, and how to listen.

A notification is only a hint: the hub reads what was committed from the table. Any role that may connect to
the database may NOTIFY and LISTEN on any channel, so a notification that carried an update could be forged
by a role that may not publish, and read by one that may read nothing.
"""

from __future__ import annotations

import secrets
import select
import time
from typing import Any, Final

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from .. import conf
from ..models import Update

CHANNEL: Final = "sluice_updates"
COMMITTED: Final = "committed"
LOOP_BACK: Final = "loop-back"  # followed by the hub's id and a nonce

# What check() waits for a notification that takes a millisecond.
_CHECK_SECONDS: Final = 2.0


def is_wanted() -> bool:
    """Whether commits wake the hubs by NOTIFY: SLUICE_UPDATES_NOTIFY, on PostgreSQL.

    By default they do if no publisher URL is set.
    """
    wanted = conf.notify()
    if wanted is None:
        wanted = not conf.publisher_url()
    return wanted is True and _database().vendor == "postgresql"


def is_watched() -> bool:
    """Whether a hub watches the database's file for commits: it is an SQLite file."""
    database: Any = _database()
    return conf.notify() is not False and database.vendor == "sqlite" and not database.is_in_memory_db()


def _database() -> BaseDatabaseWrapper:
    return connections[router.db_for_write(Update)]


def notify(connection: BaseDatabaseWrapper, *words: str, channel: str = CHANNEL) -> None:
    """Send a notification, outside transactions. Raises Django's database errors.

    In a transaction, NOTIFY would take a lock at its commit that all commits with a notification wait for.
    This transaction of its own is short, and PostgreSQL does not wait for the disk at its commit.
    """
    assert not connection.in_atomic_block
    payload = " ".join(words)
    assert payload.replace("-", "").replace(" ", "").isalnum(), (
        payload
    )  # a literal: NOTIFY takes no parameter
    with connection.cursor() as cursor:
        cursor.execute(f"NOTIFY {channel}, '{payload}'")


def listen(connection: BaseDatabaseWrapper, channel: str = CHANNEL) -> Any:
    """LISTEN on this connection, opened anew. Returns the driver's connection, for received()."""
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute(f"LISTEN {channel}")
    return connection.connection


def is_pooled(connection: BaseDatabaseWrapper) -> bool:
    """Whether a pooler, such as PgBouncer, is between this process and PostgreSQL.

    A pooler sends clients a process id of its own making. One in session mode does no harm.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    raw: Any = connection.connection
    return bool(raw.info.backend_pid != pid)


def received(raw: Any) -> list[list[str]]:
    """The words of each notification that has arrived. Does not wait.

    `raw` is the driver's connection, of psycopg 3 or psycopg2. Raises the driver's error when it has ended.
    """
    if hasattr(raw, "pgconn"):
        raw.pgconn.consume_input()
        payloads = [arrived.extra.decode("utf-8", "replace") for arrived in iter(raw.pgconn.notifies, None)]
    else:
        raw.poll()
        payloads = [arrived.payload for arrived in raw.notifies]
        del raw.notifies[:]
    return [payload.split() for payload in payloads]


def check() -> bool:
    """Whether a notification from one new connection arrives at another. Raises Django's database errors."""
    channel = f"sluice_updates_{secrets.token_hex(8)}"
    alias = router.db_for_write(Update)
    listener, other = connections.create_connection(alias), connections.create_connection(alias)
    try:
        raw = listen(listener, channel)
        deadline = time.monotonic() + _CHECK_SECONDS
        notify(other, COMMITTED, channel=channel)
        while (left := deadline - time.monotonic()) > 0:
            if select.select([raw], [], [], left)[0] and received(raw):
                return True
        with listener.cursor() as cursor:
            cursor.execute(f"UNLISTEN {channel}")  # a pooler's connection outlives ours
        return False
    finally:
        listener.close()
        other.close()
