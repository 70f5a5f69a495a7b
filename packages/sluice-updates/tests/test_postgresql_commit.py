"""PostgreSQL's trigger at COMMIT, and the privileges that each role needs on the tables."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import connections, transaction

from harness.waiting import wait_until
from sluice_updates import commits, history, identity, publish
from sluice_updates.models import Update
from sluice_updates.positions import ZERO
from sluice_updates.trimming import trim
from updates_lab.support import Threads

pytestmark = pytest.mark.servers

INSERT = "INSERT INTO sluice_updates_update (stream, event, payload) VALUES ('{}', 'e', '{{}}')"
WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


@pytest.fixture
def database(database_on: Callable[[str], str]) -> str:
    """PostgreSQL only."""
    return database_on("postgresql")


@pytest.fixture
def connect(database: str) -> Iterator[Callable[..., psycopg.Connection[Any]]]:
    """Connections in addition to Django's, with their own transactions."""
    opened = []

    def open_another(**more: Any) -> psycopg.Connection[Any]:
        parameters = connections[database].get_connection_params() | more
        for name in ("cursor_factory", "context"):
            parameters.pop(name, None)
        opened.append(psycopg.connect(**parameters))
        return opened[-1]

    yield open_another
    for connection in opened:
        connection.close()


def scalar(database: str, query: str) -> Any:
    with connections[database].cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def offsets() -> list[tuple[str, int]]:
    return [
        (each.stream, each.position.offset) for each in history.read({"all": ZERO, "user:7": ZERO}).updates
    ]


def test_an_open_transaction_delays_no_other(database: str, connect: Any) -> None:
    slow = connect()
    slow.execute(INSERT.format("all"))
    publish("all", "e", {})
    slow.commit()
    first, second = history.read({"all": ZERO}).updates
    assert (first.position.offset, second.position.offset) == (1, 2)
    assert Update.objects.get(offset=2).id < Update.objects.get(offset=1).id


def test_a_long_transaction_is_not_skipped(database: str, connect: Any) -> None:
    """The transaction begins before several polls, writes before some of them, and commits after all of
    them.
    """
    slow = connect()
    slow.execute("SELECT pg_current_xact_id()")
    cursor = commits.poll(None).cursor
    slow.execute(INSERT.format("user:7"))
    for count in range(1, 4):
        publish("all", "e", {})
        cursor, updates, *_ = commits.poll(cursor)
        assert [(each.stream, each.position.offset) for each in updates] == [("all", count)]
    slow.commit()
    cursor, updates, *_ = commits.poll(cursor)
    assert [(each.stream, each.position.offset) for each in updates] == [("user:7", 1)]
    assert commits.poll(cursor).updates == []


def test_savepoints_have_transaction_ids_of_their_own(database: str, connect: Any) -> None:
    """Offsets and polls use the id of the whole transaction."""
    slow = connect()
    slow.execute(INSERT.format("all"))
    slow.execute("SAVEPOINT a")
    slow.execute(INSERT.format("all"))
    slow.execute("SAVEPOINT b")
    slow.execute(INSERT.format("all"))
    cursor = commits.poll(None).cursor
    slow.execute("ROLLBACK TO SAVEPOINT b")
    slow.execute("RELEASE SAVEPOINT a")
    slow.commit()
    assert [each.position.offset for each in commits.poll(cursor).updates] == [1, 2]


def test_a_commit_waits_for_the_stream_and_takes_the_next_offset(database: str, connect: Any) -> None:
    """The stream is locked from a commit's flush until the commit is visible; a rollback leaves no gap."""
    for outcome, expected in (("rollback", [("all", 1)]), ("commit", [("all", 1), ("all", 2), ("all", 3)])):
        first = connect()
        first.execute(INSERT.format("all"))
        first.execute("SET CONSTRAINTS ALL IMMEDIATE")  # as far as a commit goes before it is visible
        with Threads() as others:
            others.start(publish, "all", "e", {})
            wait_until(lambda: scalar(database, WAITING), 10, "the second commit to wait", every=0.01)
            getattr(first, outcome)()
        assert offsets() == expected


def test_updates_made_after_the_trigger_has_fired_get_offsets_too(database: str, connect: Any) -> None:
    other = connect()
    other.execute(INSERT.format("all"))
    other.execute("SET CONSTRAINTS ALL IMMEDIATE")
    other.execute(INSERT.format("all"))
    other.execute("SET CONSTRAINTS ALL DEFERRED")
    other.execute(INSERT.format("user:7"))
    other.execute(INSERT.format("all"))
    other.commit()
    assert offsets() == [("all", 1), ("all", 2), ("all", 3), ("user:7", 1)]


def test_a_row_that_is_deleted_before_the_commit(database: str, connect: Any) -> None:
    other = connect()
    other.execute(INSERT.format("all"))
    other.execute("DELETE FROM sluice_updates_update")
    other.commit()
    assert offsets() == []
    other.execute(INSERT.format("all"))
    other.execute("DELETE FROM sluice_updates_update")
    other.execute(INSERT.format("all"))
    other.commit()
    assert offsets() == [("all", 1)]


def test_an_update_is_on_disk_before_it_is_pushed(database: str, connect: Any) -> None:
    for level, expected in (
        ("off", "on"),
        ("local", "on"),
        ("remote_write", "on"),
        ("remote_apply", "remote_apply"),
    ):
        other = connect(options=f"-c synchronous_commit={level}")
        other.execute(INSERT.format("all"))
        other.execute("SET CONSTRAINTS ALL IMMEDIATE")
        assert other.execute("SHOW synchronous_commit").fetchone() == (expected,)
        other.commit()
        assert other.execute("SHOW synchronous_commit").fetchone() == (level,)


def test_tags_are_random_in_all_their_bits(database: str) -> None:
    with transaction.atomic(using=database):
        for _ in range(400):
            publish("all", "e", {})
    tags = [int(each.position.tag, 16) for each in history.read({"all": ZERO}).updates]
    assert len(set(tags)) == 400
    for bit in range(64):
        ones = sum(tag >> bit & 1 for tag in tags)
        assert 100 < ones < 300, f"bit {bit} is set in {ones} of 400 tags"


def test_a_transaction_of_many_updates(database: str) -> None:
    with transaction.atomic(using=database):
        for number in range(3000):
            publish(f"s:{number % 3}", "e", {"number": number})
    reading = history.read({f"s:{n}": ZERO for n in range(3)}, limit=3000)
    assert [each.position.offset for each in reading.updates] == [*range(1, 1001)] * 3
    numbers = [each.payload_json for each in reading.updates if each.stream == "s:1"]
    assert numbers == [f'{{"number":{number}}}' for number in range(1, 3000, 3)]


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_stricter_isolation(database: str, connect: Any, isolation: str) -> None:
    other = connect()
    other.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
    other.execute(INSERT.format("all"))
    other.commit()
    assert offsets() == [("all", 1)]


def test_reading_inside_the_callers_transaction_is_refused(database: str) -> None:
    with transaction.atomic(using=database), pytest.raises(RuntimeError, match="outside atomic blocks"):
        history.read({"all": ZERO})


def test_a_reading_cannot_write_and_leaves_the_connection_as_it_was(database: str) -> None:
    history.read({"all": ZERO})
    assert scalar(database, "SHOW transaction_read_only") == "off"
    assert scalar(database, "SHOW transaction_isolation") == "read committed"


# After a restore into another cluster


def test_updates_of_another_cluster_are_polled_again_until_reset(database: str) -> None:
    publish("all", "e", {})
    publish("all", "e", {})
    with connections[database].cursor() as cursor:
        cursor.execute("UPDATE sluice_updates_update SET xid = '99999999999' WHERE \"offset\" = 2")
    cursor = commits.poll(commits.poll(None).cursor).cursor
    assert len(commits.poll(cursor).updates) == 1
    call_command("reset_xids", verbosity=0)
    assert commits.poll(cursor).updates == []
    assert scalar(database, "SELECT count(*) FROM sluice_updates_update WHERE xid = '0'") == 1
    publish("all", "e", {})
    assert [each.position.offset for each in commits.poll(cursor).updates] == [3]


# Roles

GRANTS = {
    "publish": [
        "INSERT (stream, event, payload, key), SELECT ON sluice_updates_update",
        "SELECT ON sluice_updates_database",
    ],
    "read": [
        "SELECT ON sluice_updates_stream",
        "SELECT ON sluice_updates_update",
        "SELECT ON sluice_updates_database",
    ],
    "trim": [
        "SELECT, UPDATE (floor, floor_tag) ON sluice_updates_stream",
        "SELECT, DELETE ON sluice_updates_update",
    ],
}


@pytest.fixture
def as_role(database: str) -> Iterator[Callable[[str], None]]:
    """Have Django act as a role that has the grants of one use and no others."""
    cursor = connections[database].cursor()
    cursor.execute("DROP ROLE IF EXISTS sluice_test_use")
    cursor.execute("CREATE ROLE sluice_test_use")
    cursor.execute("GRANT USAGE ON SCHEMA public TO sluice_test_use")

    def act_as(use: str) -> None:
        for grant in GRANTS[use]:
            cursor.execute(f"GRANT {grant} TO sluice_test_use")
        cursor.execute("SET ROLE sluice_test_use")

    yield act_as
    cursor.execute("RESET ROLE")
    cursor.execute("DROP OWNED BY sluice_test_use")
    cursor.execute("DROP ROLE sluice_test_use")
    cursor.close()


def test_thousands_are_committed_despite_wrong_statistics(database: str, connect: Any) -> None:
    """On a new site the statistics show an empty table, even those collected while the transaction is
    open.
    """
    other = connect(autocommit=True)
    backend = scalar(database, "SELECT pg_backend_pid()")
    # PostgreSQL's statement_timeout does not apply to COMMIT.
    watch = threading.Timer(60, other.execute, ["SELECT pg_cancel_backend(%s)", [backend]])
    with transaction.atomic(using=database):
        for number in range(4000):
            publish(f"s:{number // 2}", "e", {})
        other.execute("VACUUM ANALYZE sluice_updates_update, sluice_updates_stream")
        watch.start()
    watch.cancel()
    reading = history.read({f"s:{number}": ZERO for number in range(2000)}, limit=5000)
    assert [each.position.offset for each in reading.updates] == [1, 2] * 2000


def test_a_publisher_needs_no_more_than_to_insert(database: str, as_role: Callable[[str], None]) -> None:
    as_role("publish")
    publish("all", "e", {}, key="k")
    publish("all", "e", {}, key="k")
    with transaction.atomic(using=database):
        publish("all", "e", {})
        publish("user:7", "e", {})
    named, updates = history.by_ids(list(Update.objects.values_list("id", flat=True)))
    assert named
    assert [each.position.offset for each in updates.values()] == [1, 2, 1]


@pytest.mark.parametrize(
    "forgery",
    [
        "INSERT INTO sluice_updates_update (stream, event, payload, \"offset\") VALUES ('all', 'e', '{}', 9)",
        "INSERT INTO sluice_updates_update (stream, event, payload, tag) VALUES ('all', 'e', '{}', 'x')",
        "INSERT INTO sluice_updates_update (stream, event, payload, xid) VALUES ('all', 'e', '{}', '1')",
        "UPDATE sluice_updates_update SET payload = '{}'",
        "DELETE FROM sluice_updates_update",
        "UPDATE sluice_updates_stream SET head = 9",
        "INSERT INTO sluice_updates_stream (name, head, head_tag, floor, floor_tag)"
        " VALUES ('x', 9, 'x', 0, '0')",
        "SELECT sluice_updates_allot()",
        "CREATE TRIGGER mine AFTER INSERT ON sluice_updates_update EXECUTE FUNCTION sluice_updates_allot()",
    ],
)
def test_a_publisher_cannot_forge(database: str, as_role: Callable[[str], None], forgery: str) -> None:
    as_role("publish")
    with (
        pytest.raises(Exception, match=r"permission denied|must be owner"),
        transaction.atomic(using=database),
    ):
        scalar(database, forgery)


def test_a_reader_needs_no_more_than_to_select(database: str, as_role: Callable[[str], None]) -> None:
    publish("all", "e", {})
    as_role("read")
    assert identity.read(connections[database])
    cursor = commits.poll(None).cursor
    assert history.read({"all": ZERO}).recovered["all"] and commits.poll(cursor).updates == []
    with pytest.raises(Exception, match="permission denied"):
        publish("all", "e", {})


def test_the_trimming_role_may_move_only_the_floor(database: str, as_role: Callable[[str], None]) -> None:
    publish("all", "e", {})
    as_role("trim")
    assert trim(max_per_stream=0) == 1
    with pytest.raises(Exception, match="permission denied"), transaction.atomic(using=database):
        scalar(database, "UPDATE sluice_updates_stream SET head = 9")


def test_the_trigger_ignores_the_callers_search_path(database: str, connect: Any) -> None:
    """A function with the owner's rights must use its own tables and functions, whatever the caller's search
    path.
    """
    other = connect()
    other.execute("CREATE TEMPORARY TABLE sluice_updates_stream (name text PRIMARY KEY, head bigint)")
    other.execute("CREATE SCHEMA mine")
    other.execute(
        "CREATE FUNCTION mine.gen_random_uuid() RETURNS uuid LANGUAGE sql AS 'SELECT (1 / 0)::text::uuid'"
    )
    other.execute("SET LOCAL search_path = pg_temp, mine, pg_catalog, public")
    other.execute(INSERT.format("all"))
    other.execute("SET CONSTRAINTS ALL IMMEDIATE")
    other.execute("DROP SCHEMA mine CASCADE")
    other.commit()
    assert offsets() == [("all", 1)]
