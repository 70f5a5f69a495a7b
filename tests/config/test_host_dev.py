"""`make dev` with a missing requirement: it prints the problem and the fix, and creates nothing."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from config.host_shell import SOURCE


def refusal(*arguments: str, path: str = os.environ["PATH"]) -> str:
    """The one sentence that it stops with."""
    done = subprocess.run(
        [SOURCE / "scripts/dev", *arguments],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.split("\n\n")[-1].strip().splitlines()
    return sentence


def python_that(fails_at: str, folder: Path) -> str:
    """A PATH whose python3 fails at that command."""
    script = folder / "python3"
    script.write_text(f'#!/bin/sh\ncase "$*" in *{fails_at}*) exit 1 ;; --version) echo Python 3.x ;; esac\n')
    script.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.mark.parametrize(
    ("fails_at", "fix"), [("ensurepip", "apt-get install python3-venv"), ("3,", "newer")]
)
def test_a_python_that_does_not_do(fails_at: str, fix: str, tmp_path: Path) -> None:
    assert fix in refusal(path=python_that(fails_at, tmp_path))


@pytest.mark.parametrize("port", ["http", "0", "65536", "-k"])
def test_an_invalid_port(port: str, tmp_path: Path) -> None:
    assert "is not a port" in refusal(port, path=python_that("nothing", tmp_path))


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = refusal(str(port), path=python_that("nothing", tmp_path))
    assert f"Port {port} on 127.0.0.1 is taken by" in sentence and "make dev ARGS=" in sentence
