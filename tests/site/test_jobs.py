"""A crop is cut once and its owner notified once, whatever happens to the workers."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import tifffile
from django.db import OperationalError, connection
from django.utils import timezone

from harness.waiting import wait_until
from inbox.models import Message
from sluice_updates.models import Update
from volumes import claims, cutting, jobs, stores
from volumes.models import Crop

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def crop(ada: Any, volume: Any) -> Crop:
    return Crop.objects.create(owner=ada, volume=volume, x0=10, x1=74, y0=5, y1=50, z0=2, z1=29)


def news() -> Any:
    """The published updates about messages."""
    return Update.objects.filter(event="new-message")


def progress() -> list[dict[str, Any]]:
    """The published updates about the crop's progress, in order."""
    found = Update.objects.filter(event="crop-progress").order_by("id")
    return [json.loads(update.payload) for update in found]


def in_a_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Run `work` in a thread with its own database connection. Its result is appended to the list."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def test_it_is_cut_and_its_owner_notified(crop: Crop, voxels: Any) -> None:
    assert jobs.run(crop.pk)
    crop.refresh_from_db()
    assert (crop.state, crop.progress, crop.attempts, crop.error) == ("done", 100, 1, "")
    assert crop.size == crop.path.stat().st_size
    assert crop.started and crop.finished and crop.created < crop.started < crop.finished
    assert (tifffile.imread(crop.path) == voxels[2:29, 5:50, 10:74]).all()
    message = Message.objects.get()
    assert (message.recipient, message.sender) == (crop.owner, None)
    assert (message.title, message.link) == ("Crop of Small is ready", f"crops/{crop.pk}/download/")
    update = news().get()
    assert (update.stream, update.event) == (f"user:{crop.owner.pk}", "new-message")
    assert json.loads(update.payload) == {"message_id": message.pk, "message_title": message.title}


def test_a_repeated_task_does_nothing(crop: Crop) -> None:
    assert [jobs.run(crop.pk) for _ in range(3)] == [True, False, False]
    assert Message.objects.count() == news().count() == 1


def test_a_task_for_a_crop_that_is_gone_does_nothing(crop: Crop) -> None:
    gone = crop.pk
    crop.delete()
    assert not jobs.run(gone)


def test_of_two_at_a_time_one_works(crop: Crop, monkeypatch: pytest.MonkeyPatch) -> None:
    working, go_on = threading.Event(), threading.Event()
    open_array = stores.open_array

    def slowly(volume: Any) -> Any:
        working.set()
        assert go_on.wait(30)
        return open_array(volume)

    monkeypatch.setattr(stores, "open_array", slowly)
    thread, results = in_a_thread(lambda: jobs.run(crop.pk))
    assert working.wait(30)
    assert claims.claimed([crop.pk, crop.pk + 1]) == {crop.pk}
    assert not jobs.run(crop.pk)
    go_on.set()
    thread.join(30)
    assert results == [True]
    assert claims.claimed([crop.pk]) == set()
    assert Message.objects.count() == news().count() == 1


# The code of a worker that will be killed. SQLite's in-memory database belongs to one process, so there only
# the claim can be tested.
STUCK = {
    "postgresql": """
import signal
from volumes import cutting, jobs
cutting.cut = lambda *arguments: signal.pause()
jobs.run({crop})
""",
    "sqlite": """
import signal
from volumes import claims
with claims.claim({crop}):
    signal.pause()
""",
}


def test_a_killed_workers_crop_is_free_at_once_and_cut_again(
    crop: Crop, elsewhere: Callable[[str], Any]
) -> None:
    worker = elsewhere(STUCK[connection.vendor].format(crop=crop.pk))
    wait_until(lambda: claims.claimed([crop.pk]), 30, "the worker at work")
    if connection.vendor == "postgresql":
        wait_until(lambda: Crop.objects.get().state == "running", 30, "the crop running")
    assert not jobs.run(crop.pk)
    worker.kill()
    worker.wait()
    assert jobs.run(crop.pk)
    crop.refresh_from_db()
    assert (crop.state, crop.attempts) == ("done", 2 if connection.vendor == "postgresql" else 1)
    assert Message.objects.count() == news().count() == 1


def test_a_crop_that_another_worker_restarted_is_aborted(crop: Crop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker lost its claim with its connection, and another one started: only the later one may finish
    the crop.
    """
    cut = cutting.cut

    def meanwhile(*arguments: Any) -> int:
        Crop.objects.update(attempts=2)
        return cut(*arguments)

    monkeypatch.setattr(cutting, "cut", meanwhile)
    assert not jobs.run(crop.pk)
    assert Crop.objects.get().state == "running"
    assert not Message.objects.exists()


def test_a_crop_that_was_deleted_meanwhile_is_aborted(crop: Crop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_PROGRESS_SECONDS", 0)
    open_array = stores.open_array

    def then_delete(volume: Any) -> Any:
        Crop.objects.all().delete()
        return open_array(volume)

    monkeypatch.setattr(stores, "open_array", then_delete)
    assert not jobs.run(crop.pk)
    assert not crop.path.exists()


def test_progress_is_in_the_row(crop: Crop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_PROGRESS_SECONDS", 0)
    monkeypatch.setattr(cutting, "SLAB_BYTES", 64 * 45 * 4)
    seen: list[int] = []
    report = jobs._Progress.__call__

    def watched(self: Any, percent: int) -> None:
        report(self, percent)
        seen.append(Crop.objects.get().progress)

    monkeypatch.setattr(jobs._Progress, "__call__", watched)
    beats: list[bool] = []
    assert jobs.run(crop.pk, alive=lambda: beats.append(True))
    assert len(beats) == 27
    said = [{"crop_id": crop.pk, "state": "running", "progress": percent} for percent in (0, *seen)]
    assert progress() == [*said, {"crop_id": crop.pk, "state": "done", "progress": 100}]
    assert seen == sorted(seen) and len(set(seen)) == 27 and seen[-1] == 100


def test_progress_is_published_at_most_once_a_second(crop: Crop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cutting takes less than that here, so only the beginning and the end are published."""
    monkeypatch.setattr(cutting, "SLAB_BYTES", 64 * 45 * 4)
    monkeypatch.setattr(jobs, "_PROGRESS_SECONDS", 60)
    assert jobs.run(crop.pk)
    assert [said["state"] for said in progress()] == ["running", "done"]


def test_progress_that_is_rolled_back_is_not_published(crop: Crop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise OperationalError("the server went away")

    monkeypatch.setattr(jobs, "send", fail)
    with pytest.raises(OperationalError):
        jobs.run(crop.pk)
    assert [said["state"] for said in progress()] == ["running"]


def test_a_volume_that_can_not_be_read_fails_the_crop_in_words(crop: Crop) -> None:
    crop.volume.path.rename(crop.volume.path.with_name("elsewhere"))
    assert jobs.run(crop.pk)
    crop.refresh_from_db()
    assert crop.state == "failed" and crop.error.startswith("The volume's data can't be read")
    message = Message.objects.get()
    assert progress()[-1] == {"crop_id": crop.pk, "state": "failed", "progress": 0}
    assert message.title == "Crop of Small failed" and crop.error in message.text and message.link == ""
    assert news().count() == 1
    assert not jobs.run(crop.pk)


def test_a_full_disk_is_reported(crop: Crop, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cutting, "cut", full)
    jobs.run(crop.pk)
    assert Crop.objects.get().error == "The server's disk is full."


def test_a_crop_that_kills_its_workers_ends(crop: Crop) -> None:
    Crop.objects.update(attempts=jobs.MAX_ATTEMPTS, state="running")
    assert jobs.run(crop.pk)
    assert Crop.objects.get().error.startswith("The worker died 5 times")
    assert Message.objects.count() == 1


def test_a_database_that_fails_at_the_end_leaves_it_to_the_next_task(
    crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = jobs.send

    def fail(*arguments: Any, **options: Any) -> Any:
        raise OperationalError("the server went away")

    monkeypatch.setattr(jobs, "send", fail)
    with pytest.raises(OperationalError):
        jobs.run(crop.pk)
    assert Crop.objects.get().state == "running"
    monkeypatch.setattr(jobs, "send", send)
    assert jobs.run(crop.pk)
    assert Crop.objects.get().state == "done"
    assert Message.objects.count() == 1


def test_without_celery_a_command_cuts_waiting_crops(crop: Crop, capsys: pytest.CaptureFixture[str]) -> None:
    from django.core.management import call_command

    call_command("run_crops")
    assert "done" in capsys.readouterr().out
    assert Crop.objects.get().state == "done"


def test_the_command_also_removes_old_files(crop: Crop) -> None:
    from django.core.management import call_command

    Crop.objects.update(state="failed", finished=timezone.now() - timedelta(days=1000))
    call_command("run_crops")
    assert not Crop.objects.exists()


@pytest.mark.parametrize(
    ("command", "root"), [(["run_crops"], "MEDIA_ROOT"), (["import_volume", "x.nii"], "VOLUMES_ROOT")]
)
def test_root_makes_no_files_for_another_user(
    db: None, settings: Any, tmp_path: Path, command: list[str], root: str
) -> None:
    """Also where the folder doesn't exist yet, inside another user's folder."""
    from django.core.management import CommandError, call_command

    os.chown(tmp_path, 33, 33)
    setattr(settings, root, tmp_path / "not" / "yet")
    with pytest.raises(CommandError, match=rf"{tmp_path} belongs to www-data.* runuser --user www-data -- "):
        call_command(*command)
    assert not list(tmp_path.iterdir())
