"""`manage.py runworker` on RabbitMQ, in a separate process."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from channels.layers import InMemoryChannelLayer
from channels_rabbitmq.core import RabbitmqChannelLayer as Stock
from django.apps import apps
from django.conf import settings

import sluice_layer
from layer_lab.broker import Broker
from layer_lab.deaf import Deaf
from layer_lab.kit import both, url
from sluice_layer import RabbitmqChannelLayer as Ours
from sluice_layer.apps import WORKER_SETTINGS, stands_before_channels, uses_prefixed_settings
from sluice_layer.self_check import FAILED_PINGS, PING_EVERY
from sluice_layer.worker import GracefulWorker

# The folders that provide the layer (source or installed wheel) and these tests.
IMPORTABLE = (Path(sluice_layer.__file__).parents[1], Path(__file__).parent)


class Work:
    """A normal channel, its workers, and the folder that they write to."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.broker = broker
        self.folder = folder
        self.channel = f"work-{secrets.token_hex(4)}"
        self.alive = folder / "alive"
        self.workers: list[subprocess.Popen[str]] = []
        self._layer = Ours(host=url(Ours, *broker.address))

    def start(
        self, *options: str, kind: type = Ours, apps: tuple[str, ...] = ("sluice_layer", "channels")
    ) -> int:
        """Start a worker and return its number."""
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, IMPORTABLE)),
            "DJANGO_SETTINGS_MODULE": "layer_lab.worker_project",
            "WORKER_APPS": json.dumps(apps),
            "WORKER_LAYER": f"{kind.__module__}.{kind.__name__}",
            "WORKER_HOST": url(kind, *self.broker.address),
            "WORKER_ALIVE": str(self.alive),
            "WORKER_FOLDER": str(self.folder),
        }
        self.workers.append(
            subprocess.Popen(
                [sys.executable, "-m", "django", "runworker", self.channel, *options],
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
        return len(self.workers) - 1

    def send(self, **message: Any) -> None:
        async_to_sync(self._layer.send)(self.channel, message)

    def notes(self) -> list[str]:
        file = self.folder / "notes"
        return file.read_text().splitlines() if file.exists() else []

    def wait_for(self, note: str, count: int = 1) -> None:
        self._wait(lambda: self.notes().count(note) >= count, f"{note!r} in {self.notes()}")

    def go(self) -> None:
        (self.folder / "go").touch()

    def end(self, worker: int, seconds: float = 15) -> tuple[int, str]:
        """Wait until the worker exits. Return its exit code and output."""
        output, _ = self.workers[worker].communicate(timeout=seconds)
        return self.workers[worker].returncode, output

    def waiting(self) -> int:
        """Messages in the queue, including those that a worker is handling."""
        return self.broker.queues()[f"asgi.normal.{self.channel}"]

    def is_touched(self, times: int = 1, file: Path | None = None) -> None:
        """Wait until the file is touched `times` times, each within a health check's limit."""
        file = file or self.alive
        for _ in range(times):
            last = file.stat().st_mtime_ns if file.exists() else 0
            self._wait(lambda: file.exists() and file.stat().st_mtime_ns > last, "a touch", 15)  # noqa: B023

    @staticmethod
    def _wait(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, what
            time.sleep(0.02)


@pytest.fixture
def work(broker: Broker, tmp_path: Path) -> Iterator[Work]:
    work = Work(broker, tmp_path)
    yield work
    for worker in work.workers:
        if worker.poll() is None:
            worker.kill()
            worker.communicate()


@both
def test_a_worker_works(kind: type, survives: bool, work: Work) -> None:
    """The stock layer fails at creation, and has no normal channels."""
    apps = ("channels",) if kind is Stock else ("sluice_layer", "channels")
    worker = work.start(kind=kind, apps=apps)
    work.go()
    if survives:
        work.send(type="work", number=1)
        work.wait_for("end 1")
    else:
        code, output = work.end(worker)
        assert code != 0
        assert "Refusing to initialize channel layer" in output


@pytest.mark.parametrize("prefix", ["", "sync-"], ids=["asynchronous", "synchronous"])
def test_sigterm_finishes_the_current_message(prefix: str, work: Work) -> None:
    work.channel = prefix + work.channel
    worker = work.start()
    for number in range(3):
        work.send(type="work", number=number)
    work.wait_for("begin 0")
    work.workers[worker].send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        work.workers[worker].wait(0.5)
    work.go()
    code, output = work.end(worker)
    assert (code, work.notes()) == (0, ["begin 0", "end 0"]), output
    work.start()  # others get the message that the first worker did not start, once
    work.wait_for("end 2")
    assert work.notes() == [f"{what} {number}" for number in range(3) for what in ("begin", "end")]


def test_sigterm_with_one_channel_at_work_and_one_idle(work: Work) -> None:
    worker = work.start("another-channel")
    work.send(type="work", number=1)
    work.wait_for("begin 1")
    work.workers[worker].send_signal(signal.SIGTERM)
    work.go()
    code, output = work.end(worker)
    assert (code, work.notes()) == (0, ["begin 1", "end 1"]), output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_an_idle_worker_stops_at_once(number: signal.Signals, work: Work) -> None:
    worker = work.start()
    work.go()
    work.send(type="work", number=1)
    work.wait_for("end 1")
    began = time.monotonic()
    work.workers[worker].send_signal(number)
    code, output = work.end(worker)
    assert code == 0, output
    assert time.monotonic() - began < 3
    assert work.waiting() == 0


def test_a_message_that_takes_too_long_goes_back(work: Work) -> None:
    worker = work.start("--stop-timeout", "0.5")
    work.send(type="work", number=1)
    work.wait_for("begin 1")
    work.workers[worker].send_signal(signal.SIGTERM)
    code, output = work.end(worker)
    assert code == 0
    assert "1 messages took longer than 0.5 s; they go back to the queue" in output
    work.start()
    work.go()
    work.wait_for("end 1")


def test_the_job_of_a_killed_worker_is_done_by_another(work: Work) -> None:
    first = work.start()
    work.send(type="work", number=1)
    work.wait_for("begin 1")
    work.start()
    work.workers[first].kill()
    work.go()
    work.wait_for("end 1")
    assert work.notes() == ["begin 1", "begin 1", "end 1"]


def test_a_handler_that_raises(work: Work) -> None:
    """Its message is not retried, and the next one is handled."""
    worker = work.start()
    work.go()
    work.send(type="fail")
    work.send(type="work", number=1)
    work.wait_for("end 1")
    work.workers[worker].send_signal(signal.SIGTERM)
    code, output = work.end(worker)
    assert code == 0
    assert "Exception inside application: as handlers do" in output
    assert work.notes().count("fail") == 1
    assert work.waiting() == 0


def test_messages_without_a_type_are_dropped(work: Work) -> None:
    work.start()
    work.go()
    work.send(number=0)
    work.send(type="work", number=1)
    work.wait_for("end 1")


def test_survives_an_outage(work: Work) -> None:
    work.start()
    work.go()
    work.send(type="work", number=1)
    work.wait_for("end 1")
    with work.broker.stopped():
        pass
    work.send(type="work", number=2)
    work.wait_for("end 2")


def test_the_alive_file_is_touched(work: Work) -> None:
    work.start()
    work._wait(work.alive.exists, "the file")
    first = work.alive.stat().st_mtime
    work._wait(lambda: work.alive.stat().st_mtime > first, "the file to be touched again")


def test_it_is_touched_while_there_is_no_broker(work: Work) -> None:
    """A broker that is down is no reason to restart the worker."""
    worker = work.start()
    work.is_touched()
    with work.broker.stopped():
        work.is_touched(3)
    work.is_touched(4)
    assert work.workers[worker].poll() is None


def test_it_is_touched_while_a_handler_is_at_work(work: Work) -> None:
    work.start()
    work.send(type="work", number=1)
    work.wait_for("begin 1")
    work.is_touched(2)


def test_a_deaf_worker_exits(work: Work) -> None:
    worker = work.start(kind=Deaf)
    work.is_touched()
    (work.folder / "deaf").touch()
    code, output = work.end(worker, 30)
    assert code == 70
    assert f"channel {work.channel} received nothing for" in output


def test_a_worker_that_was_frozen_with_its_broker_continues(work: Work) -> None:
    """The worker and RabbitMQ stop together, as in a suspended or migrated machine. The missed pings then
    don't mean that the worker is deaf.
    """
    worker = work.start()
    work.go()
    work.is_touched(2)
    work.workers[worker].send_signal(signal.SIGSTOP)
    with work.broker.paused():
        time.sleep(FAILED_PINGS * PING_EVERY + 7)  # the length of the fault
    work.workers[worker].send_signal(signal.SIGCONT)
    work.send(type="work", number=1)
    work.wait_for("end 1")
    work.is_touched(4)
    assert work.workers[worker].poll() is None


@pytest.mark.parametrize("prefix", ["", "sync-"], ids=["asynchronous", "synchronous"])
def test_a_worker_whose_handler_is_stuck_exits(prefix: str, work: Work) -> None:
    work.channel = prefix + work.channel
    worker = work.start("--busy-limit", "1")
    work.send(type="work", number=1)
    work.wait_for("begin 1")
    code, output = work.end(worker, 30)
    assert code == 70
    assert f"a handler has worked on a message of channel {work.channel} for" in output


def test_workers_that_share_a_channel_all_touch_their_files(work: Work, tmp_path: Path) -> None:
    files = [tmp_path / f"alive-{number}" for number in range(3)]
    for file in files:
        work.start("--alive-file", str(file))
    for file in files:
        work.is_touched(2, file)


def test_the_alive_file_follows_no_symbolic_link(work: Work) -> None:
    """The default is in /tmp, where any user may have placed a symbolic link."""
    victim = work.folder / "victim"
    victim.touch()
    os.utime(victim, (0, 0))
    work.alive.symlink_to(victim)
    worker = work.start()
    work.go()
    work.send(type="work", number=1)
    work.wait_for("end 1")
    work.workers[worker].send_signal(signal.SIGTERM)
    _, output = work.end(worker)
    assert victim.stat().st_mtime == 0
    assert "Cannot touch" in output


def test_works_on_any_layer() -> None:
    """Without acknowledgements, as with Channels' own layer."""
    handled = []

    async def application(scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
        handled.append(await receive())
        os.kill(os.getpid(), signal.SIGTERM)
        await receive()

    async def scenario() -> None:
        layer = InMemoryChannelLayer()
        await layer.send("work", {"type": "work"})
        worker = GracefulWorker(application, ["work"], layer, alive_file="", stop_timeout=1)
        await asyncio.wait_for(worker.arun(), 5)

    asyncio.run(scenario())
    assert handled == [{"type": "work"}]


def test_its_place_among_the_apps_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listed after `channels`, Django would use Channels' own runworker."""
    assert stands_before_channels(None) == []
    configs = list(apps.get_app_configs())
    monkeypatch.setattr(apps, "get_app_configs", lambda: configs[::-1])
    assert [message.id for message in stands_before_channels(None)] == ["sluice_layer.W001"]


@pytest.mark.parametrize("name", WORKER_SETTINGS)
def test_a_setting_under_its_old_name_is_found(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    prefixed = f"SLUICE_LAYER_{name}"
    monkeypatch.delattr(settings, prefixed, raising=False)
    assert uses_prefixed_settings(None) == []
    monkeypatch.setattr(settings, name, "1", raising=False)
    (warning,) = uses_prefixed_settings(None)
    assert (warning.id, prefixed in warning.msg) == ("sluice_layer.W002", True)
    monkeypatch.setattr(settings, prefixed, "1", raising=False)
    assert uses_prefixed_settings(None) == []


def test_without_channels_it_waits_alive_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """So a service that starts a worker for any project stays up in a project without channels."""
    alive = tmp_path / "alive"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, IMPORTABLE)),
        "DJANGO_SETTINGS_MODULE": "layer_lab.worker_project",
        "WORKER_APPS": json.dumps(["sluice_layer", "channels"]),
        "WORKER_LAYER": "channels.layers.InMemoryChannelLayer",
        "WORKER_HOST": "",
        "WORKER_ALIVE": str(alive),
        "WORKER_FOLDER": str(tmp_path),
    }
    command = [sys.executable, "-m", "django", "runworker"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=environment, text=True, stdout=pipe, stderr=subprocess.STDOUT
    ) as worker:
        until = time.monotonic() + 20
        while not alive.exists() and time.monotonic() < until:
            time.sleep(0.05)
        worker.terminate()
        output, _ = worker.communicate(timeout=15)
    assert (alive.exists(), worker.returncode) == (True, 0), output
    assert "no channels to listen on: name them, or set SLUICE_LAYER_WORKER_CHANNELS" in output
