"""PostgreSQL: offsets are allotted at COMMIT, by a deferred constraint trigger, and rows carry their
transaction's id.

Measured when this was designed: taking the stream's lock at publish() gave 65 transactions/s with 5 ms of
work after it, and 8 deadlocks to 5 commits with two streams in opposite order; taking it at COMMIT, 1,020/s
and none.

On SQLite there is nothing to do: a writer is alone until it commits, so publish() itself takes the offset.
"""

from django.db import migrations

# Why each part is as it is:
# - The lock: whoever upserts the row of the stream holds it until its commit is visible to all, and the next
#   one then reads the new head. So offsets are without gaps and in the order of commits, and a rollback takes
#   none.
# - Name order ("C": the same everywhere), all of the transaction's streams at the first firing: two
#   transactions never wait for each other. The other firings find their row's offset set.
# - SECURITY DEFINER: who publishes needs INSERT on four columns of one table and can neither forge nor touch
#   offsets. search_path is pinned, as every such function's must be.
# - synchronous_commit: an update that was pushed must not be forgotten by a crash of the server.
# - enable_seqscan: a session keeps the plans of this function, and a plan made while the table was all but
#   empty would scan the whole of it at every commit.
# - gen_random_uuid: PostgreSQL's own source of strong randomness. Of a version 4 UUID's 32 digits, those not
#   fixed by the version and variant are 1-12, 14-16 and 18-32.
FUNCTION = """
CREATE FUNCTION {schema}.sluice_updates_allot() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $function$
DECLARE
    batch record;
    digits text;
    last_tag text;
    last_offset bigint;
BEGIN
    PERFORM FROM {update} WHERE id = NEW.id AND "offset" IS NULL;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    FOR batch IN
        SELECT stream, count(*) AS size, max(id) AS last_id FROM {update}
        WHERE xid = pg_current_xact_id() AND "offset" IS NULL
        GROUP BY stream ORDER BY stream COLLATE "C"
    LOOP
        digits := replace(gen_random_uuid()::text, '-', '');
        last_tag := substr(digits, 1, 12) || right(digits, 4);
        INSERT INTO {stream} AS s (name, head, head_tag, floor, floor_tag)
        VALUES (batch.stream, batch.size, last_tag, 0, '0')
        ON CONFLICT (name) DO UPDATE SET head = s.head + excluded.head, head_tag = excluded.head_tag
        RETURNING s.head INTO last_offset;
        IF batch.size = 1 THEN
            UPDATE {update} SET "offset" = last_offset, tag = last_tag WHERE id = batch.last_id;
        ELSE
            UPDATE {update} AS u
            SET "offset" = last_offset - batch.size + place,
                tag = CASE WHEN u.id = batch.last_id THEN last_tag
                           ELSE substr(digits_of.digits, 1, 12) || right(digits_of.digits, 4) END
            FROM (
                SELECT id, row_number() OVER (ORDER BY id) AS place,
                       replace(gen_random_uuid()::text, '-', '') AS digits
                FROM {update}
                WHERE xid = pg_current_xact_id() AND "offset" IS NULL AND stream = batch.stream
            ) AS digits_of
            WHERE u.id = digits_of.id;
        END IF;
    END LOOP;
    RETURN NULL;
END
$function$
"""

FORWARDS = (
    # The index serves history.poll and the trigger.
    "ALTER TABLE {update} ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id()",
    "CREATE INDEX sluice_updates_update_xid ON {update} (xid)",
    # Half-empty pages, so that the new version of a busy stream's row finds room on the old one's page.
    "ALTER TABLE {stream} SET (fillfactor = 50)",
    FUNCTION,
    "REVOKE ALL ON FUNCTION {schema}.sluice_updates_allot() FROM PUBLIC",
    """
    CREATE CONSTRAINT TRIGGER sluice_updates_allot AFTER INSERT ON {update}
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {schema}.sluice_updates_allot()
    """,
)

BACKWARDS = (
    "DROP TRIGGER sluice_updates_allot ON {update}",
    "DROP FUNCTION {schema}.sluice_updates_allot()",
    "ALTER TABLE {stream} RESET (fillfactor)",
    "ALTER TABLE {update} DROP COLUMN xid",
)


def forwards(apps, schema_editor):
    execute(apps, schema_editor, FORWARDS)


def backwards(apps, schema_editor):
    execute(apps, schema_editor, BACKWARDS)


def execute(apps, schema_editor, statements):
    """Execute the statements on PostgreSQL, with the tables' names, their schema's included, filled in."""
    if schema_editor.connection.vendor != "postgresql":
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        schema = schema_editor.quote_name(cursor.fetchone()[0])
    names = {"schema": schema}
    for name in ("stream", "update"):
        table = apps.get_model("sluice_updates", name)._meta.db_table
        names[name] = f"{schema}.{schema_editor.quote_name(table)}"
    for statement in statements:
        schema_editor.execute(statement.format(**names), params=None)


class Migration(migrations.Migration):
    dependencies = [("sluice_updates", "0001_initial")]
    operations = [migrations.RunPython(forwards, backwards, elidable=False)]
