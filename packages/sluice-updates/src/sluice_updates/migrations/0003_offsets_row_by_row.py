"""PostgreSQL: offsets are written row by row.

A transaction that publishes twice or more to a stream had its rows numbered by one statement for each
stream, a join whose plan a session keeps. Made while the table was all but empty, that plan joins each row
with a new numbering of all: a commit of 4,000 updates to 2,000 streams then ran for a quarter of an hour and
was not done. By the primary key nothing is left to plan.

All else is as in the migration before, where each part is explained.
"""

from importlib import import_module

from django.db import migrations

before = import_module("sluice_updates.migrations.0002_offsets_at_commit")

FUNCTION = """
CREATE OR REPLACE FUNCTION {schema}.sluice_updates_allot() RETURNS trigger
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


def forwards(apps, schema_editor):
    before.execute(apps, schema_editor, [FUNCTION])


def backwards(apps, schema_editor):
    before.execute(apps, schema_editor, [before.FUNCTION.replace("CREATE ", "CREATE OR REPLACE ", 1)])


class Migration(migrations.Migration):
    dependencies = [("sluice_updates", "0002_offsets_at_commit")]
    operations = [migrations.RunPython(forwards, backwards, elidable=False)]
