"""Beat's own parts: jobs in the background, never two of the same at a time, and a heartbeat."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from harness.waiting import wait_until
from sluice_stack.celery import beat
from sluice_stack.health.heartbeat import Heartbeat
from stacksite.celery import app


def test_a_job_that_goes_on_is_not_started_again() -> None:
    begun, go_on = threading.Semaphore(0), threading.Event()

    def job() -> None:
        begun.release()
        go_on.wait(30)

    runner = beat.Runner(job, "job")
    assert runner.start()
    assert begun.acquire(timeout=30)
    assert not runner.start()
    go_on.set()
    wait_until(runner.start, 30, "another run", every=0.01)
    assert begun.acquire(timeout=30)


def test_a_job_that_fails_is_logged_and_run_again(caplog: pytest.LogCaptureFixture) -> None:
    runs: list[int] = []

    def job() -> None:
        runs.append(1)
        raise RuntimeError("no")

    runner = beat.Runner(job, "job")
    wait_until(lambda: runner.start() and len(runs) >= 2, 30, "two runs", every=0.01)
    assert "job failed" in caplog.text


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> beat.LocalScheduler:
    started: list[str] = []
    monkeypatch.setattr(beat.Runner, "start", lambda self: started.append(self.name))
    monkeypatch.setattr(beat, "Heartbeat", lambda service: Heartbeat(service, tmp_path))
    monkeypatch.setitem(app.conf, "broker_url", "amqp://192.0.2.1//")
    nightly = {"task": "sluice_stack.ping", "schedule": 10.0}
    monkeypatch.setitem(app.conf, "beat_schedule", {**app.conf.beat_schedule, "a task": nightly})
    scheduler = beat.LocalScheduler(app=app)
    scheduler.started = started
    return scheduler


def test_it_needs_no_broker_and_beats(scheduler: beat.LocalScheduler, tmp_path: Path) -> None:
    for entry in scheduler.schedule.values():
        entry.last_run_at = entry.default_now() - entry.schedule.run_every
    began = time.monotonic()
    waits = [scheduler.tick() for _ in range(10)]
    assert time.monotonic() - began < 2
    assert sorted(scheduler.started) == sorted(entry.task for entry in scheduler.schedule.values())
    assert waits[-1] <= 5
    assert (tmp_path / "beat.alive").exists()
    scheduler.close()


def test_the_stacks_jobs_and_the_sites_are_functions(scheduler: beat.LocalScheduler) -> None:
    from django.utils.module_loading import import_string

    jobs = {entry.task for entry in scheduler.schedule.values()} - {"sluice_stack.ping"}
    assert jobs > {entry["task"] for entry in beat.JOBS.values()}
    assert all(callable(import_string(job)) for job in jobs)


def test_a_name_that_is_no_task_and_no_function_is_refused(
    scheduler: beat.LocalScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(app.conf, "beat_schedule", {"x": {"task": "stacksite.steps.typo", "schedule": 10.0}})
    with pytest.raises(ImportError, match="typo"):
        beat.LocalScheduler(app=app)


def test_a_heartbeat_touches_its_file_now_and_then(tmp_path: Path) -> None:
    heartbeat = Heartbeat("celery", tmp_path)
    heartbeat.beat()
    file = tmp_path / "celery.alive"
    os.utime(file, (0, 0))
    heartbeat.beat()  # no second one at once
    assert file.stat().st_mtime == 0
    heartbeat._next = 0
    heartbeat.beat()
    assert file.stat().st_mtime > 0


def test_a_heartbeat_that_can_not_be_written_is_harmless(tmp_path: Path) -> None:
    Heartbeat("celery", tmp_path / "none").beat()
