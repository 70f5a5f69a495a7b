"""Gunicorn's shutdown: connections that it accepted are served, later ones are refused at once."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.servers import free_port
from harness.waiting import wait_until

HERE = Path(__file__).parent
POST = b"POST /nowhere/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody"


class Gunicorn:
    """Gunicorn with this project's settings, on a free port."""

    def __init__(
        self, environ: dict[str, str], config: str = "python:sluice_stack.gunicorn.configuration"
    ) -> None:
        self.port = free_port()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--config", config, "stacksite.wsgi"],
            cwd=HERE,
            env=environ | {"WSGI_BIND": f"127.0.0.1:{self.port}", "ALLOWED_HOSTS": "localhost"},
            stdin=subprocess.DEVNULL,
        )

    def workers(self) -> list[int]:
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def post(self) -> socket.socket:
        """A connection on which a complete request was sent."""
        connection = self.connect()
        connection.sendall(POST)
        return connection


@pytest.fixture
def gunicorn(environment_of_others: dict[str, str]) -> Iterator[Gunicorn]:
    environ = {name: value for name, value in environment_of_others.items() if name != "ALLOWED_HOSTS"}
    server = Gunicorn(environ)
    try:
        wait_until(lambda: answer_of(server) is not None, 20, "Gunicorn", fatal=lambda: ended(server))
        yield server
    finally:
        for pid in [*server.workers(), server.process.pid] if server.process.poll() is None else []:
            os.kill(pid, signal.SIGKILL)
        server.process.wait()


def ended(server: Gunicorn) -> str | None:
    return None if server.process.poll() is None else f"it ended with {server.process.returncode}"


def answer_of(server: Gunicorn) -> bytes | None:
    try:
        return read(server.post())
    except ConnectionRefusedError:
        return None


def read(connection: socket.socket) -> bytes:
    """The beginning of the status line, or nothing if the connection was cut."""
    with connection:
        try:
            return connection.recv(12)
        except ConnectionResetError:
            return b""


def test_all_queued_connections_are_served(gunicorn: Gunicorn) -> None:
    """The workers are frozen while requests arrive and the master is told to stop."""
    for worker in gunicorn.workers():
        os.kill(worker, signal.SIGSTOP)
    waiting = [gunicorn.post() for _ in range(20)]
    assert not refuses(gunicorn)
    gunicorn.process.terminate()
    wait_until(lambda: refuses(gunicorn), 10, "to be refused")
    for worker in gunicorn.workers():
        os.kill(worker, signal.SIGCONT)
    assert [read(connection) for connection in waiting] == [b"HTTP/1.1 404"] * 20
    assert gunicorn.process.wait(20) == 0


@pytest.mark.parametrize("path", ["/healthz", "/nowhere/"])
def test_head_is_answered_with_the_length_and_without_a_body(gunicorn: Gunicorn, path: str) -> None:
    """Gunicorn would log a warning about a body, at every request of a monitor."""
    with gunicorn.connect() as connection:
        connection.sendall(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        with connection.makefile("rb") as answer:
            head, _, body = answer.read().partition(b"\r\n\r\n")
    assert re.search(rb"\r\nContent-Length: [1-9]\d*(\r\n|$)", head) and body == b""


def test_a_worker_that_was_just_forked_stops_too(
    environment_of_others: dict[str, str], tmp_path: Path
) -> None:
    """Gunicorn ignores a signal that reaches a worker between its fork and the setup of its handlers."""
    config, go = tmp_path / "config.py", tmp_path / "go"
    config.write_text(
        "import pathlib, time\n"
        "from sluice_stack.gunicorn.configuration import *\n"
        "def post_fork(server, worker):\n"
        f"    while not pathlib.Path({str(go)!r}).exists():\n"
        "        time.sleep(0.01)\n"
    )
    server = Gunicorn(environment_of_others, str(config))
    try:
        wait_until(lambda: len(server.workers()) == 2, 20, "both forks", fatal=lambda: ended(server))
        server.process.terminate()
        wait_until(lambda: refuses(server), 10, "to be refused")
        go.touch()
        assert server.process.wait(15) == 0
    finally:
        for pid in [*server.workers(), server.process.pid] if server.process.poll() is None else []:
            os.kill(pid, signal.SIGKILL)
        server.process.wait()


def test_while_a_request_is_finished_others_are_refused_at_once(gunicorn: Gunicorn) -> None:
    slow = gunicorn.connect()
    slow.sendall(POST[:-4])
    time.sleep(0.5)  # a worker now holds the connection; nothing shows when
    gunicorn.process.terminate()
    wait_until(lambda: refuses(gunicorn), 5, "to be refused")
    assert gunicorn.process.poll() is None
    slow.sendall(POST[-4:])
    assert read(slow) == b"HTTP/1.1 404"
    assert gunicorn.process.wait(20) == 0


def test_every_accepted_connection_gets_a_response_while_it_stops_under_load(gunicorn: Gunicorn) -> None:
    """Every accepted connection gets a response; the others are refused."""
    cut: list[bytes] = []
    served: list[bytes] = []

    def come_again() -> None:
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", gunicorn.port), timeout=3)
            except OSError:
                return
            try:
                connection.sendall(POST)
                answer = read(connection)
            except OSError:
                answer = b""
            (served if answer else cut).append(answer)

    people = [threading.Thread(target=come_again) for _ in range(16)]
    for person in people:
        person.start()
    wait_until(lambda: len(served) > 100, 20, "load")
    gunicorn.process.terminate()
    for person in people:
        person.join(20)
    assert gunicorn.process.wait(20) == 0
    assert cut == []


def test_replacing_a_worker_keeps_the_socket_open(gunicorn: Gunicorn) -> None:
    """As after max_requests, or by SIGHUP."""
    before = gunicorn.workers()
    gunicorn.process.send_signal(signal.SIGHUP)
    wait_until(lambda: not set(before) & set(gunicorn.workers()), 20, "other workers")
    assert [answer_of(gunicorn) for _ in range(10)] == [b"HTTP/1.1 404"] * 10


def refuses(server: Gunicorn) -> bool:
    try:
        server.connect().close()
    except ConnectionRefusedError:
        return True
    return False
