"""Celery's standard calls: `@shared_task`, `delay_on_commit()`, a countdown, a retry, beat.

They use a real broker, and accounts with the stack's permissions.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import shared_task
from django.core.signals import request_finished, request_started
from django.db import transaction
from kombu.exceptions import OperationalError

from harness.servers import RabbitMQ, free_port
from harness.waiting import wait_until
from mysite.celery import app

ROOT = Path(__file__).parents[2]
APP = ROOT / "app"

# A developer's own tasks.
TASKS = """
import os, pathlib, time
from celery import shared_task

FILE = pathlib.Path(os.environ["WRITTEN"])

@shared_task
def write(words):
    with FILE.open("a") as file:
        print(time.time(), words, file=file)

@shared_task
def call_another(words):
    write.delay(f"{words} from a task")

@shared_task(bind=True, autoretry_for=(OSError,), retry_kwargs={"countdown": 2, "max_retries": 2})
def fail_twice(self, words):
    write.run(f"{words} {self.request.retries}")
    if self.request.retries < 2:
        raise OSError("not yet")
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "guest_tasks.py").write_text(TASKS)
    monkeypatch.setenv("WRITTEN", str(tmp_path / "written"))
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("guest_tasks", None)
    (tmp_path / "written").touch()
    yield tmp_path / "written"
    for name in [name for name in app.tasks if name.startswith("guest_tasks.")]:
        app.tasks.pop(name)


def guest() -> Any:
    """The module with those tasks, imported in this process too."""
    return importlib.import_module("guest_tasks")


def permissions() -> dict[str, tuple[str, str, str]]:
    """The permissions on Celery's vhost in the image's definitions, by user."""
    text = (ROOT / "images/rabbitmq/definitions").read_text()
    variables = dict(re.findall(r"(?m)^    local (\w+)='(.*)'$", text))
    found = {}
    for line in re.findall(r'\{"vhost": "celery", "user": .*\}', text):
        row = json.loads(re.sub(r"\$(\w+)", lambda match: variables[match[1]], line))
        found[row["user"]] = (row["configure"], row["write"], row["read"])
    return found


@pytest.fixture
def vhost(rabbitmq: RabbitMQ) -> str:
    vhost = f"celery{time.monotonic_ns()}"
    rabbitmq.ctl("add_vhost", vhost)
    for user, allowed in permissions().items():
        if user not in rabbitmq.ctl("list_users"):
            rabbitmq.ctl("add_user", user, "secret")
        rabbitmq.ctl("set_permissions", "-p", vhost, user, *allowed)
    return vhost


@pytest.fixture
def worker(
    rabbitmq: RabbitMQ,
    vhost: str,
    written: Path,
    tmp_path: Path,
    environment_of_others: dict[str, str],
    tasks_at: Callable[[str], None],
) -> Iterator[Path]:
    """Start a worker, give this process Gunicorn's account, and return the worker's log."""
    (tmp_path / "password").write_text("secret")
    log = tmp_path / "worker.log"
    environ = environment_of_others | {
        "TASKS_URL": f"amqp://celery@127.0.0.1:{rabbitmq.port}/{vhost}",
        "TASKS_PASSWORD_FILE": str(tmp_path / "password"),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
        "TMPDIR": str(tmp_path),
        "WRITTEN": str(written),
    }
    command = [sys.executable, "-m", "celery", "--app", "mysite", "worker", "--include", "guest_tasks"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=APP, env=environ, stdout=output, stderr=output)
    try:
        wait_until(lambda: "ready." in log.read_text(), 40, "a worker", fatal=lambda: ended(process, log))
        tasks_at(f"amqp://tasks:secret@127.0.0.1:{rabbitmq.port}/{vhost}")
        yield log
    finally:
        process.terminate()
        process.wait(30)
    assert process.returncode == 0


def ended(process: subprocess.Popen[bytes], log: Path) -> str | None:
    return None if process.poll() is None else log.read_text()[-3000:]


def lines(written: Path) -> list[str]:
    return [line.partition(" ")[2] for line in written.read_text().splitlines()]


def times(written: Path) -> list[float]:
    return [float(line.partition(" ")[0]) for line in written.read_text().splitlines()]


@pytest.mark.django_db(transaction=True)
def test_a_task_is_run_after_the_commit(worker: Path, written: Path) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        guest().write.delay_on_commit("rolled back")
        raise ZeroDivisionError
    with transaction.atomic():
        guest().write.delay_on_commit("committed")
        assert app._publisher._backlog == type(app._publisher._backlog)()
    wait_until(lambda: lines(written) == ["committed"], 20, "the task's line")


def test_a_task_calls_another(worker: Path, written: Path) -> None:
    guest().call_another.delay("called")
    wait_until(lambda: lines(written) == ["called from a task"], 20, "the other task's line")


def test_a_countdown_waits_in_the_broker_and_blocks_nothing(worker: Path, written: Path) -> None:
    began = time.time()
    guest().write.apply_async(["later"], countdown=5)
    for number in range(3):
        guest().write.delay(str(number))
    wait_until(lambda: len(lines(written)) == 4, 30, "all lines")
    assert lines(written) == ["0", "1", "2", "later"]
    assert times(written)[2] - began < 4 and times(written)[3] - began >= 5


def test_a_retry_waits_its_time(worker: Path, written: Path) -> None:
    guest().fail_twice.delay("try")
    wait_until(lambda: lines(written) == ["try 0", "try 1", "try 2"], 30, "three tries")
    first, second, third = times(written)
    assert second - first >= 2 and third - second >= 2


def test_old_permissions_are_enough_for_tasks_without_a_countdown(
    worker: Path, written: Path, rabbitmq: RabbitMQ, vhost: str
) -> None:
    """The permissions of 0.1.0, for installations that have not been updated."""
    rabbitmq.ctl("set_permissions", "-p", vhost, "celery", "^celery$", "^celery$", "^celery$")
    rabbitmq.ctl("set_permissions", "-p", vhost, "tasks", "^$", r"^amq\.default$", "^$")
    before = worker.read_text().count("Connected to")
    rabbitmq.ctl("close_all_connections", "-p", vhost, "test")
    wait_until(lambda: worker.read_text().count("Connected to") > before, 30, "a new connection")
    guest().write.delay("old")
    wait_until(lambda: lines(written) == ["old"], 20, "the task's line")
    assert "tasks with a countdown, retries included, can't wait in the broker" in worker.read_text()
    with pytest.raises(OperationalError, match="celery_delayed_27"):
        guest().write.apply_async(["later"], countdown=5)


@pytest.fixture
def task(written: Path) -> Any:
    return guest().write


def test_without_a_broker_a_task_runs_where_it_is_called(task: Any, written: Path) -> None:
    task.delay("at once")
    assert lines(written) == ["at once"]


def test_outside_of_a_request_a_broker_that_is_down_is_an_error(
    task: Any, tasks_at: Callable[[str], None]
) -> None:
    tasks_at(f"amqp://tasks:secret@127.0.0.1:{free_port()}/celery")
    began = time.monotonic()
    with pytest.raises(OperationalError, match="nothing listens there"):
        task.delay("never")
    assert time.monotonic() - began < 5


@pytest.fixture
def request_thread() -> Iterator[None]:
    """Makes this thread process a request."""
    from django.db import close_old_connections

    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    request_started.send(None, environ={})
    yield
    request_finished.send(None)
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def test_in_a_request_it_costs_no_time_and_is_published_when_the_broker_is_back(
    request_thread: None,
    worker: Path,
    written: Path,
    rabbitmq: RabbitMQ,
    caplog: pytest.LogCaptureFixture,
) -> None:
    guest().write.delay("before")
    wait_until(lambda: lines(written) == ["before"], 20, "the first line")
    rabbitmq.stop()
    try:
        costs = []
        for number in range(20):
            began = time.perf_counter()
            guest().write.delay(str(number))
            costs.append(time.perf_counter() - began)
        assert sorted(costs)[10] < 0.001
        wait_until(lambda: "tasks wait for the broker" in caplog.text, 20, "a line in the log")
    finally:
        rabbitmq.start()
    wait_until(lambda: len(lines(written)) >= 21, 40, "all lines")
    assert lines(written) == ["before", *map(str, range(20))]


def test_in_a_request_more_than_the_backlog_is_dropped_and_logged(
    request_thread: None, task: Any, tasks_at: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    tasks_at(f"amqp://tasks:secret@127.0.0.1:{free_port()}/celery")
    from sluice_stack.celery import publishing

    for number in range(2 * publishing.BACKLOG + 200):
        task.delay(str(number))
        if number % 100 == 0:
            app._publisher._sender.flush(5)
    wait_until(lambda: "dropped: 1000 wait for the broker" in caplog.text, 20, "a line in the log")
    assert len(app._publisher._backlog) == publishing.BACKLOG


def test_shared_tasks_are_this_projects() -> None:
    @shared_task
    def mine() -> None: ...

    assert mine.app is app
    app.tasks.pop(mine.name)
