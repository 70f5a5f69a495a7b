import django.db.models.functions.datetime
from django.db import migrations, models

from . import _trigger
from ._old_names import UPDATES, UnlessOld


def create_trigger(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        _trigger.create(schema_editor)


def drop_trigger(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        _trigger.drop(schema_editor)


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        UnlessOld(
            UPDATES,
            [
                migrations.CreateModel(
                    name="Stream",
                    fields=[
                        ("name", models.CharField(max_length=200, primary_key=True, serialize=False)),
                        ("head", models.BigIntegerField(default=0)),
                        ("head_tag", models.CharField(default="0", max_length=16)),
                        ("floor", models.BigIntegerField(default=0)),
                        ("floor_tag", models.CharField(default="0", max_length=16)),
                    ],
                    options={
                        "ordering": ["name"],
                    },
                ),
                migrations.CreateModel(
                    name="Update",
                    fields=[
                        (
                            "id",
                            models.BigAutoField(
                                auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                            ),
                        ),
                        ("stream", models.CharField(max_length=200)),
                        ("offset", models.BigIntegerField(null=True)),
                        ("tag", models.CharField(max_length=16, null=True)),
                        ("event", models.CharField(max_length=100)),
                        ("payload", models.TextField()),
                        ("key", models.CharField(max_length=200, null=True)),
                        (
                            "created",
                            models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                        ),
                    ],
                    options={
                        "ordering": ["stream", "offset"],
                        "constraints": [
                            models.UniqueConstraint(
                                condition=models.Q(("offset__isnull", False)),
                                fields=("stream", "offset"),
                                name="sluice_updates_update_position",
                            ),
                            models.UniqueConstraint(
                                condition=models.Q(("key__isnull", False)),
                                fields=("key",),
                                name="sluice_updates_update_key",
                            ),
                        ],
                    },
                ),
                migrations.RunPython(create_trigger, drop_trigger),
            ],
        ),
    ]
