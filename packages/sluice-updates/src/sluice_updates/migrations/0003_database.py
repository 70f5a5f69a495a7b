import uuid

from django.db import migrations, models


def create_identity(apps, schema_editor):
    apps.get_model("sluice_updates", "Database").objects.using(schema_editor.connection.alias).create()


def grant_to_readers(apps, schema_editor):
    """Who may read updates may read the identity, so that an upgrade needs no new grant."""
    if schema_editor.connection.vendor != "postgresql":
        return
    update, database = (
        schema_editor.quote_name(apps.get_model("sluice_updates", name)._meta.db_table)
        for name in ("Update", "Database")
    )
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END"
            " FROM pg_class, aclexplode(relacl)"
            " WHERE oid = %s::regclass AND grantee <> relowner AND privilege_type = 'SELECT'",
            [update],
        )
        roles = [role for (role,) in cursor.fetchall()]
    for role in roles:
        schema_editor.execute(f"GRANT SELECT ON {database} TO {role}")


class Migration(migrations.Migration):
    dependencies = [("sluice_updates", "0002_take_over")]

    operations = [
        migrations.CreateModel(
            name="Database",
            fields=[
                ("id", models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("identity", models.UUIDField(default=uuid.uuid4)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="sluice_updates_database_only")
                ],
            },
        ),
        migrations.RunPython(create_identity, migrations.RunPython.noop),
        migrations.RunPython(grant_to_readers, migrations.RunPython.noop),
    ]
