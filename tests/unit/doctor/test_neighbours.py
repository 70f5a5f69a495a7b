"""Other programs on a host are not the site's: other sites, and processes in containers."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from unit.doctor.house import House, Said

from harness.servers import free_port
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
# In a container, a process has its own root, as after chroot.
_CONTAINED = """
def when_ready(server):
    import os
    os.chroot("{root}")
"""


def asked(house: House, *arguments: str) -> Said:
    return house.doctor(*arguments, "--clients", "100", "--only", "open-files")


def about(said: Said, process: subprocess.Popen[bytes]) -> list[tuple[str, str]]:
    """Verdicts and messages of findings about the process or one of its children."""
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
    pids = {str(process.pid), *children.stdout.split()}
    return [
        (one["verdict"], one["message"])
        for one in said.findings
        if pids & set(one["where"].partition(", process ")[2].split(", "))
    ]


@contextlib.contextmanager
def running(port: int, *command: str, cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program with few open files allowed, and wait until it responds."""
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
    """It has the same Python, but another folder."""
    with gunicorn(tmp_path, tmp_path) as other:
        said = asked(house, "--at", front)
        assert about(said, other) == []
    assert (said.bad, said.code) == ([], 0)
    assert said.of("open-files", "gunicorn")["verdict"] == "passed"
    assert said.of("open-files", "daphne")["verdict"] == "passed"


def test_a_containers_gunicorn(house: House, front: str, tmp_path: Path) -> None:
    """Its folder has the same name as the site's. The doctor must not report it."""
    (tmp_path / "tmp").mkdir()
    with gunicorn(tmp_path, house.app, _CONTAINED.format(root=tmp_path)) as other:
        assert Path(f"/proc/{other.pid}/cwd").readlink() == house.app
        said = asked(house, "--at", front)
        assert about(said, other) == []
    assert (said.bad, said.code) == ([], 0)
