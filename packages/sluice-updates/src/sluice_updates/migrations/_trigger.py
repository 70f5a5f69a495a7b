"""PostgreSQL: a deferred constraint trigger allots offsets at COMMIT, and each row carries its transaction's id.

Measured when this was designed: if publish() takes the stream's lock, 5 ms of work after it limit the site to
65 transactions/s, and two streams in opposite order gave 8 deadlocks to 5 commits. If COMMIT takes the lock:
1,020 transactions/s and no deadlock.

SQLite needs no trigger: a writer is alone until it commits, so publish() itself takes the offset.
"""

from __future__ import annotations

from typing import Any, Final

# Why each part is as it is:
# - The lock: a commit that upserts the row of the stream holds it until that commit is visible to all; the
#   next one then reads the new head. So offsets have no gaps and follow the order of commits, and a rollback
#   takes none.
# - Name order ("C": the same everywhere), all streams of the transaction at the first firing: two
#   transactions never wait for each other. The other firings find their row's offset set.
# - Row by row, by the primary key: a session keeps the plans of this function, and a plan made while the
#   table was almost empty would join each row with a new numbering of all. A commit of 4,000 updates to 2,000
#   streams ran for a quarter of an hour that way.
# - enable_seqscan: for the same reason, such a plan would scan the whole table at every commit.
# - SECURITY DEFINER: a publisher needs INSERT on four columns of one table and can neither forge nor change
#   offsets. search_path is pinned, as in every such function.
# - synchronous_commit: a crash of the server must not forget an update that was pushed.
# - gen_random_uuid: PostgreSQL's own source of strong randomness. Of a version 4 UUID's 32 digits, those not
#   fixed by the version and variant are 1-12, 14-16 and 18-32.
FUNCTION: Final = """
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    batch record;
    row_id bigint;
    digits text;
    new_tag text;
    last_tag text;
    next_offset bigint;
BEGIN
    PERFORM FROM {update} WHERE id = NEW.id AND "offset" IS NULL;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    FOR batch IN
        SELECT stream, count(*) AS size, array_agg(id ORDER BY id) AS ids FROM {update}
        WHERE xid = pg_current_xact_id() AND "offset" IS NULL
        GROUP BY stream ORDER BY stream COLLATE "C"
    LOOP
        digits := replace(gen_random_uuid()::text, '-', '');
        last_tag := substr(digits, 1, 12) || right(digits, 4);
        INSERT INTO {stream} AS s (name, head, head_tag, floor, floor_tag)
        VALUES (batch.stream, batch.size, last_tag, 0, '0')
        ON CONFLICT (name) DO UPDATE SET head = s.head + excluded.head, head_tag = excluded.head_tag
        RETURNING s.head - batch.size + 1 INTO next_offset;
        FOREACH row_id IN ARRAY batch.ids LOOP
            IF row_id = batch.ids[batch.size] THEN
                new_tag := last_tag;
            ELSE
                digits := replace(gen_random_uuid()::text, '-', '');
                new_tag := substr(digits, 1, 12) || right(digits, 4);
            END IF;
            UPDATE {update} SET "offset" = next_offset, tag = new_tag WHERE id = row_id;
            next_offset := next_offset + 1;
        END LOOP;
    END LOOP;
    RETURN NULL;
END
$function$
"""

_CREATE: Final = (
    # The index serves commits.poll and the trigger.
    "ALTER TABLE {update} ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id()",
    "CREATE INDEX sluice_updates_update_xid ON {update} (xid)",
    # Half-empty pages, so that the new version of a busy stream's row finds room on the old one's page.
    "ALTER TABLE {stream} SET (fillfactor = 50)",
    FUNCTION,
    "REVOKE ALL ON FUNCTION {function}() FROM PUBLIC",
    """
    CREATE CONSTRAINT TRIGGER sluice_updates_allot AFTER INSERT ON {update}
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {function}()
    """,
)

_DROP: Final = (
    "DROP TRIGGER sluice_updates_allot ON {update}",
    "DROP FUNCTION {function}()",
    "ALTER TABLE {stream} RESET (fillfactor)",
    "ALTER TABLE {update} DROP COLUMN xid",
)


def create(schema_editor: Any) -> None:
    """Add the column, its index, the function and the trigger to the new tables."""
    for statement in _CREATE:
        execute(schema_editor, statement)


def drop(schema_editor: Any) -> None:
    """Undo `create`."""
    for statement in _DROP:
        execute(schema_editor, statement)


def execute(schema_editor: Any, statement: str, prefix: str = "sluice_") -> None:
    """Execute a statement with the names of the tables and the function filled in, their schema included."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        schema = schema_editor.quote_name(cursor.fetchone()[0])
    names = {name: f"{schema}.{prefix}updates_{name}" for name in ("stream", "update")}
    schema_editor.execute(statement.format(function=f"{schema}.{prefix}updates_allot", **names), params=None)
