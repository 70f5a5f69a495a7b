"""Celery as this project runs it: real worker, real beat, real broker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.servers import RabbitMQ, free_port
from harness.waiting import wait_until
from inbox.models import Message
from volumes import handover
from volumes.models import Crop

APP = Path(__file__).parents[2] / "app"
# The queues of tasks with a countdown.
LEVELS = [f"celery_delayed_{level}" for level in range(28)]


class Program:
    """A Celery program on the test's database."""

    def __init__(self, environ: dict[str, str], broker: str, folder: Path, *command: str) -> None:
        self.log = folder / f"{command[0]}.log"
        password = folder / "password"
        password.write_text("guest")
        environ = environ | {
            "TASKS_URL": broker,
            "TASKS_PASSWORD_FILE": str(password),
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(folder),  # the folder of the heartbeats
        }
        self.alive = folder / "celery.alive"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "celery", "--app", "mysite", *command],
            cwd=APP,
            env=environ,
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait_for_line(self, words: str, deadline: float = 30) -> None:
        wait_until(
            lambda: words in self.log.read_text(), deadline, f"{words!r} in the log", fatal=self._death
        )

    def is_touched(self, times: int = 1) -> None:
        """Wait until the heartbeat file is touched `times` times, each before it is too old."""
        for _ in range(times):
            last = self._touched()
            wait_until(lambda: self._touched() > last, 15, "a heartbeat", fatal=self._death)  # noqa: B023

    def children(self) -> list[int]:
        """The processes of the worker's pool."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _touched(self) -> int:
        return self.alive.stat().st_mtime_ns if self.alive.exists() else 0

    def _death(self) -> str | None:
        return None if self.process.poll() is None else self.log.read_text()[-3000:]


@pytest.fixture
def broker(rabbitmq: RabbitMQ, tasks_vhost: str) -> str:
    return f"amqp://guest@127.0.0.1:{rabbitmq.port}/{tasks_vhost}"


@pytest.fixture
def start(
    tmp_path: Path, environment_of_others: dict[str, str], transactional_db: None
) -> Iterator[Callable[..., Program]]:
    with ExitStack() as stack:

        def start(broker: str, *command: str, folder: Path = tmp_path) -> Program:
            program = Program(environment_of_others, broker, folder, *command)
            stack.callback(program.close)
            return program

        yield start


@pytest.fixture
def crops(transactional_db: None, ada: Any, volume: Any) -> list[Crop]:
    return [
        Crop.objects.create(owner=ada, volume=volume, x0=0, x1=100, y0=0, y1=70, z0=0, z1=size)
        for size in range(10, 14)
    ]


def states() -> set[str]:
    return set(Crop.objects.values_list("state", flat=True))


def test_a_worker_cuts_what_is_handed_over_and_ends_in_order(
    broker: str, start: Callable[..., Program], crops: list[Crop], rabbitmq: RabbitMQ
) -> None:
    worker = start(broker, "worker")
    worker.wait_for_line("ready.")
    for crop in crops:
        for _ in range(2):  # each task twice, which must have the same effect as once
            handover._publish(crop.pk)
    wait_until(lambda: states() == {"done"}, 30, "all crops done")
    assert Message.objects.count() == len(crops)
    vhost = broker.rpartition("/")[2]
    queues = rabbitmq.ctl("list_queues", "-p", vhost, "name", "type", "durable", "arguments").splitlines()
    found = sorted(line.split()[:3] for line in queues[1:])
    assert found == sorted([name, "quorum", "true"] for name in ["celery", *LEVELS])
    assert worker.stop() == 0


@pytest.fixture
def by_tls(
    broker: str, rabbitmq: RabbitMQ, tasks_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> str:
    """The same vhost by TLS, for this process too. The authority is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", str(rabbitmq.authority))
    vhost = broker.rpartition("/")[2]
    tasks_at(f"{rabbitmq.tls_url}{vhost}")
    return f"amqps://guest@localhost:{rabbitmq.tls_port}/{vhost}"


def test_a_worker_by_tls(
    by_tls: str, start: Callable[..., Program], crops: list[Crop], rabbitmq: RabbitMQ
) -> None:
    """The worker cuts crops, also after the broker was stopped or frozen, and stays healthy meanwhile."""
    worker = start(by_tls, "worker")
    worker.wait_for_line("ready.")
    beat = start(by_tls, "beat", "--pidfile=")  # beat hands the crops over
    wait_until(lambda: states() == {"done"}, 40, "all crops done")
    for end, begin in ((rabbitmq.stop, rabbitmq.start), (rabbitmq.pause, rabbitmq.resume)):
        worker.is_touched()
        end()
        try:
            worker.is_touched(2)
        finally:
            begin()
        worker.is_touched(2)
        Crop.objects.update(state="queued", handed_over_at=None, hand_overs=0)
        wait_until(lambda: states() == {"done"}, 40, "all crops done again")
    assert beat.stop() == 0
    assert worker.stop() == 0


@pytest.mark.parametrize(
    ("host", "trusted", "why"),
    [
        ("localhost", False, "certificate verify failed: "),
        ("127.0.0.1", True, "certificate is not valid for '127.0.0.1'"),
    ],
)
def test_a_worker_connects_only_to_a_verified_broker(
    by_tls: str,
    start: Callable[..., Program],
    environment_of_others: dict[str, str],
    host: str,
    trusted: bool,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not trusted:
        environment_of_others["SSL_CERT_FILE"] = ""
    worker = start(by_tls.replace("localhost", host), "worker")
    worker.wait_for_line(why)
    assert "ready." not in worker.log.read_text()
    assert worker.stop() == 0


def test_a_worker_whose_broker_does_not_shake_hands_is_well_and_ends(start: Callable[..., Program]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        worker = start(f"amqps://guest@localhost:{mute.getsockname()[1]}/celery", "worker")
        worker.wait_for_line("no broker yet, after 2 tries")
        worker.is_touched(2)
        assert worker.stop() == 0


def test_without_a_broker_a_worker_lives_and_can_be_stopped(start: Callable[..., Program]) -> None:
    worker = start(f"amqp://guest@127.0.0.1:{free_port()}/celery", "worker")
    worker.wait_for_line("no broker yet, after 2 tries")
    assert worker.stop() == 0


def test_beat_starts_without_a_broker_and_hands_over_when_it_comes(
    start: Callable[..., Program], crops: list[Crop], rabbitmq: RabbitMQ, broker: str
) -> None:
    """The worker runs too, so only the broker has to return."""
    worker = start(broker, "worker")
    worker.wait_for_line("ready.")
    rabbitmq.stop()
    try:
        beat = start(broker, "beat", "--pidfile=", "--scheduler", "celery.beat:Scheduler")
        beat.wait_for_line("crops wait for the broker")
    finally:
        rabbitmq.start()
    wait_until(lambda: states() == {"done"}, 30, "all crops done")
    assert beat.stop() == 0
    assert worker.stop() == 0


def test_a_killed_worker_process_s_crop_is_run_again(
    broker: str, start: Callable[..., Program], crops: list[Crop], volume: Any
) -> None:
    """The pool's process is killed while it waits to read from a store, which is a pipe here."""
    metadata = volume.path / "zarr.json"
    content = metadata.read_bytes()
    metadata.unlink()
    os.mkfifo(metadata)
    worker = start(broker, "worker")
    worker.wait_for_line("ready.")
    handover._publish(crops[0].pk)
    wait_until(lambda: Crop.objects.get(pk=crops[0].pk).state == "running", 30, "the crop running")
    children = worker.children()
    metadata.unlink()
    metadata.write_bytes(content)
    for child in children:
        os.kill(child, signal.SIGKILL)
    wait_until(lambda: Crop.objects.get(pk=crops[0].pk).state == "done", 30, "the crop done")
    assert Crop.objects.get(pk=crops[0].pk).attempts == 2
    assert Message.objects.count() == 1
    assert worker.stop() == 0


def test_a_worker_stays_healthy_while_tasks_return_and_without_a_broker(
    broker: str, start: Callable[..., Program], rabbitmq: RabbitMQ
) -> None:
    worker = start(broker, "worker")
    worker.is_touched(2)
    rabbitmq.stop()
    try:
        worker.is_touched(3)
    finally:
        rabbitmq.start()
    worker.is_touched(4)
    assert worker.stop() == 0
    assert "sluice_stack.ping" not in worker.log.read_text().partition("ready.")[2]


def test_a_worker_stays_healthy_while_the_broker_is_frozen(
    broker: str, start: Callable[..., Program], rabbitmq: RabbitMQ
) -> None:
    worker = start(broker, "worker")
    worker.wait_for_line("ready.")
    worker.is_touched()
    rabbitmq.pause()
    try:
        worker.is_touched(3)
    finally:
        rabbitmq.resume()
    worker.is_touched(4)
    assert worker.stop() == 0


def test_a_stopping_worker_finishes_its_crop_while_the_broker_is_frozen(
    broker: str, start: Callable[..., Program], crops: list[Crop], rabbitmq: RabbitMQ
) -> None:
    """The pool's process is frozen until the broker is frozen too, so the crop is certainly running."""
    worker = start(broker, "worker")
    worker.wait_for_line("ready.")
    (child,) = worker.children()
    os.kill(child, signal.SIGSTOP)
    handover._publish(crops[0].pk)
    worker.wait_for_line("received")
    rabbitmq.pause()
    try:
        worker.process.send_signal(signal.SIGTERM)
        worker.wait_for_line("Warm shutdown")
        os.kill(child, signal.SIGCONT)
        assert worker.process.wait(30) == 0
    finally:
        rabbitmq.resume()
    assert Crop.objects.get(pk=crops[0].pk).state == "done"


def test_a_worker_whose_pool_is_frozen_exits_to_be_restarted(
    broker: str, start: Callable[..., Program]
) -> None:
    worker = start(broker, "worker")
    worker.wait_for_line("ready.")
    worker.is_touched()
    children = worker.children()
    for child in children:
        os.kill(child, signal.SIGSTOP)
    assert worker.process.wait(35) == 70
    assert "its own tasks have not come back" in worker.log.read_text()
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 5, "its pool gone")


def test_a_worker_of_several_that_gets_nothing_ends_and_the_others_do_not(
    broker: str, start: Callable[..., Program], tmp_path: Path
) -> None:
    """They share the queue, and therefore each other's self-check messages."""
    (tmp_path / "other").mkdir()
    well, ill = start(broker, "worker"), start(broker, "worker", folder=tmp_path / "other")
    for worker in (well, ill):
        worker.wait_for_line("ready.")
        worker.is_touched(2)
    for child in ill.children():
        os.kill(child, signal.SIGSTOP)
    assert ill.process.wait(35) == 70
    well.is_touched(2)
    assert well.stop() == 0
