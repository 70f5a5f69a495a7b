"""What `sluice_stack.migrate` does for this site: the sample volume, and each role's privileges."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import ProgrammingError, connection

from sluice_stack import grants
from sluice_updates import publish
from sluice_updates.models import Update
from volumes import sample
from volumes.models import Volume

APP = Path(__file__).parents[2] / "app"


def test_the_sample_is_imported_once(db: None, settings: Any, tmp_path: Path) -> None:
    import nibabel
    import numpy

    settings.BASE_DIR = tmp_path / "app"
    assert sample.import_sample().startswith("not imported: ")
    (tmp_path / "share").mkdir()
    nibabel.Nifti1Image(numpy.zeros((4, 5, 6), "uint8"), numpy.eye(4)).to_filename(tmp_path / sample.FILE)
    assert sample.import_sample() == f"imported {sample.TITLE}"
    assert sample.import_sample() == "not imported: there are volumes"
    assert Volume.objects.count() == 1


def test_the_table_of_rights_names_existing_tables(db: None) -> None:
    tables = set(connection.introspection.table_names())
    named = {table for rights in grants.table().values() for table in rights}
    assert named <= tables
    # Each model's table is in some role's list. Only tables that migrate alone uses are in none.
    assert {model._meta.db_table for model in apps.get_models(include_auto_created=True)} <= named


As = Callable[[str], Any]


@pytest.fixture
def acting_as(transactional_db: None) -> Iterator[As]:
    """`with acting_as("wsgi"):` gives this connection that role's privileges only."""
    if connection.vendor != "postgresql":
        yield lambda role: contextlib.nullcontext()  # SQLite has no roles, so only the work itself is tested
        return
    with connection.cursor() as cursor:
        for role in grants.table():
            cursor.execute(f"CREATE ROLE {role}")
    assert sorted(grants.apply(connection)) == sorted(grants.table())
    assert sorted(grants.apply(connection)) == sorted(grants.table())

    class Acting:
        def __init__(self, role: str) -> None:
            self.role = role

        def __enter__(self) -> None:
            with connection.cursor() as cursor:
                cursor.execute(f"SET ROLE {self.role}")

        def __exit__(self, *error: object) -> None:
            with connection.cursor() as cursor:
                cursor.execute("RESET ROLE")

    try:
        yield Acting
    finally:
        with connection.cursor() as cursor:
            for role in grants.table():
                cursor.execute(f"DROP OWNED BY {role}")
                cursor.execute(f"DROP ROLE {role}")


def denied(statement: str, *values: Any) -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
    except ProgrammingError as error:
        return "permission denied" in str(error)
    return False


@pytest.mark.parametrize("role", [role for role in grants.STACK if role != "asgi"])
def test_publishers_publish_and_can_not_forge(acting_as: As, role: str) -> None:
    with acting_as(role):
        publish("user:1", "x", {}, key="once")
        publish("user:1", "x", {}, key="once")
        assert Update.objects.count() == 1
        if connection.vendor == "postgresql":
            assert denied(
                'INSERT INTO sluice_updates_update (stream, event, payload, "offset")'
                " VALUES ('a', 'x', '{}', 9)"
            )
            assert denied("UPDATE sluice_updates_update SET payload = '[]'")
            assert denied("UPDATE sluice_updates_stream SET head = 0")


def test_the_hub_only_reads(acting_as: As) -> None:
    publish("user:1", "x", {})
    with acting_as("asgi"):
        assert Update.objects.count() == 1
        if connection.vendor == "postgresql":
            assert denied(
                "INSERT INTO sluice_updates_update (stream, event, payload) VALUES ('a', 'x', '{}')"
            )
            assert denied("DELETE FROM sluice_updates_session")
            assert denied("SELECT * FROM volumes_crop")
            assert denied("CREATE TABLE x ()")


@pytest.mark.servers  # SQLite has no roles
def test_the_version_before_has_the_same_rights_by_the_old_names(transactional_db: None) -> None:
    """Views have them while a rolling upgrade may need them; see sluice_updates.migrations."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE VIEW updates_update AS SELECT * FROM sluice_updates_update")
        cursor.execute("CREATE ROLE celery")
        try:
            grants.apply(connection)
            cursor.execute("SET ROLE celery")
            cursor.execute("INSERT INTO updates_update (stream, event, payload) VALUES ('a', 'x', '{}')")
            assert denied("UPDATE updates_update SET payload = '[]'")
        finally:
            cursor.execute("RESET ROLE")
            cursor.execute("DROP VIEW updates_update")
            cursor.execute("DROP OWNED BY celery")
            cursor.execute("DROP ROLE celery")


def test_the_worker_s_and_beat_s_jobs_need_no_more_than_they_may(
    acting_as: As, ada: Any, volume: Any, settings: Any
) -> None:
    from datetime import timedelta

    from django.core.management import call_command
    from django.utils import timezone

    from sluice_updates.trimming import trim
    from volumes import handover, jobs, retention
    from volumes.models import Crop

    crop = Crop.objects.create(owner=ada, volume=volume, x0=0, x1=5, y0=0, y1=5, z0=0, z1=5)
    with acting_as("celery"):
        assert jobs.run(crop.pk)
    Crop.objects.update(finished=timezone.now() - timedelta(days=100))
    waiting = Crop.objects.create(
        owner=ada, volume=volume, x0=0, x1=5, y0=0, y1=5, z0=0, z1=5, state="running"
    )
    Crop.objects.filter(pk=waiting.pk).update(started=timezone.now() - timedelta(days=1))
    with acting_as("beat"):
        assert retention.clean_up() == 1
        assert trim(max_age=timedelta(0)) == 3  # two updates of the crop, one of the message
        assert handover._waiting() == [waiting.pk]
        Crop.objects.filter(pk=waiting.pk).update(hand_overs=3)
        call_command("clearsessions")
        if connection.vendor == "postgresql":
            assert denied("SELECT * FROM auth_user")
            assert denied("UPDATE volumes_crop SET state = 'done'")


def test_run_crops_needs_no_more_than_the_worker_may(acting_as: As, ada: Any, volume: Any) -> None:
    from django.core.management import call_command

    from volumes.models import Crop

    box = {"x0": 0, "x1": 5, "y0": 0, "y1": 5, "z0": 0, "z1": 5}
    waiting = Crop.objects.create(owner=ada, volume=volume, **box)
    deleted = Crop.objects.create(owner=ada, volume=volume, **box, state="done", discarded=True)
    deleted.path.parent.mkdir(parents=True, exist_ok=True)
    deleted.path.write_bytes(b"TIFF")
    with acting_as("celery"):
        call_command("run_crops")
    assert list(Crop.objects.values_list("pk", "state")) == [(waiting.pk, "done")]
    assert not deleted.path.exists()


def test_the_pages_need_no_more_than_they_may(acting_as: As, ada: Any, volume: Any, box: Any) -> None:
    import json

    from django.test import Client

    from inbox.sending import send

    client = Client()
    with acting_as("wsgi"):
        send(ada, "hello")
        form = {"username": "ada", "password": "secret of ada"}
        assert client.post("/accounts/login/", form).status_code == 302
        for path in (
            "/volumes/",
            f"/volumes/{volume.pk}/",
            "/crops/",
            "/messages/",
            "/updates/?since=all/0-0",
        ):
            assert client.get(path, headers={"Accept": "text/html"}).status_code == 200
        body = json.dumps({"box": box})
        assert (
            client.post(f"/volumes/{volume.pk}/crops/", body, content_type="application/json").status_code
            == 202
        )
        assert client.post("/accounts/logout/").status_code == 302
        if connection.vendor == "postgresql":
            assert denied("DROP TABLE volumes_crop") or denied("TRUNCATE volumes_crop")
