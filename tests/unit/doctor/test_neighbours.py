"""What else runs on a host is not the site's: other sites, another RabbitMQ, what is in containers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from unit.doctor.house import House, Said

from harness.servers import RabbitMQ, free_port
from harness.waiting import wait_until

pytestmark = pytest.mark.usefixtures("alone")

_APPLICATION = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"another site"]
"""
_CONFIGURATION = """
control_socket_disable = True
preload_app = True
bind = "127.0.0.1:{port}"
chdir = "{folder}"
"""
# In a container a process has a root of its own, as after chroot.
_CONTAINED = """
def when_ready(server):
    import os
    os.chroot("{root}")
"""
_NGINX = """
daemon off;
pid nginx.pid;
error_log nginx.log;
worker_rlimit_nofile 64;
events {{ worker_connections 32; }}
http {{ access_log off; server {{ listen 127.0.0.1:{port}; location / {{ return 200 "another site"; }} }} }}
"""


def asked(house: House, *arguments: str) -> Said:
    return house.doctor(*arguments, "--clients", "100", "--only", "open-files")


def about(said: Said, process: subprocess.Popen[bytes]) -> list[tuple[str, str]]:
    """Verdicts and sentences in whose place one of the processes stands, or one of its children."""
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
    pids = {str(process.pid), *children.stdout.split()}
    return [
        (one["verdict"], one["says"])
        for one in said.findings
        if pids & set(one["where"].partition(", process ")[2].split(", "))
    ]


@contextlib.contextmanager
def running(port: int, *command: str, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """It, with few files, once it answers."""
    with (cwd / "log").open("wb") as log:
        process = subprocess.Popen(
            ["prlimit", "--nofile=200", *command], cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )

    def answers() -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"http://127.0.0.1:{port}/", timeout=5).text == "another site"
        return False

    try:
        wait_until(
            answers,
            20,
            command[0],
            fatal=lambda: (cwd / "log").read_text() if process.poll() is not None else None,
        )
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def gunicorn(folder: Path, chdir: Path, more: str = "") -> Iterator[subprocess.Popen[bytes]]:
    port = free_port()
    (folder / "another.py").write_text(_APPLICATION)
    (folder / "configuration.py").write_text(_CONFIGURATION.format(port=port, folder=chdir) + more)
    path = ["env", f"PYTHONPATH={folder}"]
    command = [*path, sys.executable, "-m", "gunicorn", "--config", "configuration.py", "another:application"]
    with running(port, *command, cwd=folder) as process:
        yield process


def test_another_sites_gunicorn(house: House, front: str, tmp_path: Path) -> None:
    """By the same Python, in a folder of its own."""
    with gunicorn(tmp_path, tmp_path) as other:
        said = asked(house, "--at", front)
        (found,) = about(said, other)
    assert found == ("left out", f"not the site's: it runs in {tmp_path}, the site in {house.app}")
    assert (said.bad, said.code) == ([], 0)
    assert said.of("open-files", "Gunicorn")["verdict"] == "ok"
    assert said.of("open-files", "Daphne")["verdict"] == "ok"


def test_a_containers_gunicorn(house: House, front: str, tmp_path: Path) -> None:
    """In a folder of the same name as the site's: nothing is said of it."""
    (tmp_path / "tmp").mkdir()
    with gunicorn(tmp_path, house.app, _CONTAINED.format(root=tmp_path)) as other:
        assert Path(f"/proc/{other.pid}/cwd").readlink() == house.app
        said = asked(house, "--at", front)
        assert about(said, other) == []
    assert (said.bad, said.code) == ([], 0)


def test_another_sites_nginx(house: House, front: str, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "nginx.conf").write_text(_NGINX.format(port=port))
    command = ["nginx", "-p", str(tmp_path), "-e", "nginx.log", "-c", str(tmp_path / "nginx.conf")]
    with running(port, *command, cwd=tmp_path) as other:
        said = asked(house, "--at", front)
        ours = front.rpartition(":")[2]
        why = f"not the site's: it does not listen at port {ours}, where the site is"
        assert about(said, other) == [("left out", why)]
        assert (said.bad, said.code) == ([], 0)
        assert said.of("open-files", "nginx")["verdict"] == "ok"
        doubted = about(asked(house, "--inside"), other)
    (verdict, says) = doubted[0]
    assert verdict == "failure" and says.endswith(
        "(whose it is can't be told: the site is not asked from here)"
    )


class Another(RabbitMQ):
    """Of the user who asks, who so sees where it listens."""

    user = "root"


@pytest.fixture(scope="module")
def another_rabbitmq() -> Iterator[Another]:
    assert os.getuid() == 0, "the doctor is asked by root"
    server = Another()
    try:
        server.start()
        yield server
    finally:
        server.close()


def test_another_rabbitmq(house: House, front: str, another_rabbitmq: Another) -> None:
    for pid in another_rabbitmq._processes():
        subprocess.run(["prlimit", f"--pid={pid}", "--nofile=1024:"], check=True)
    said = asked(house, "--at", front)
    found = [
        one
        for one in said.findings
        if set(map(str, another_rabbitmq._processes()))
        & set(one["where"].partition(", process ")[2].split(", "))
    ]
    why = f"not the site's: it does not listen at port {house.rabbitmq.port}, where the site's is"
    assert [(one["verdict"], one["says"]) for one in found] == [("left out", why)]
    assert (said.bad, said.code) == ([], 0), said.output
    assert said.of("open-files", "RabbitMQ")["verdict"] == "ok"


def test_a_broker_on_another_machine_is_none_of_those_here(
    house: House, front: str, another_rabbitmq: Another
) -> None:
    with contextlib.ExitStack() as stack:
        for name in ("sluice", "daphne", "gunicorn", "channels-worker", "celery", "beat"):
            if f"@127.0.0.1:{house.rabbitmq.port}" in (house.etc / f"{name}.env").read_text():
                stack.enter_context(
                    house.edited(
                        f"{name}.env",
                        f"@127.0.0.1:{house.rabbitmq.port}",
                        f"@192.0.2.1:{house.rabbitmq.port}",
                    )
                )
        said = asked(house, "--at", front)
    brokers = [one for one in said.findings if one["where"].startswith("RabbitMQ")]
    assert {(one["verdict"], one["says"]) for one in brokers} == {
        ("left out", "not the site's: the site uses none on this machine")
    }
