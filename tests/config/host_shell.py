"""Functions of scripts/, called as the scripts call them, and whole scripts in a container without an
engine.
"""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from harness.engine import run_id

BASE = os.environ.get("BASE_IMAGE") or "debian:trixie-slim"
SOURCE = Path(os.environ.get("SLUICE_SOURCE", Path(__file__).parents[2]))


def sh(
    code: str, folder: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `code` with all functions of scripts/, in `folder` (default: the repository). Errors go to
    stdout.
    """
    return _run(
        ["bash", "-c", f". scripts/lib/prepare.sh; cd '{folder or SOURCE}'; {code}"],
        {"PATH": os.environ["PATH"], "HOME": "/tmp", **(env or {})},
    )


def elsewhere(image: str, *command: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run `command` in a container of `image`, without a network, in a clone without a `.env`."""
    parts = "compose.yaml,.env.example,app,docs,images,scripts"
    clone = f'mkdir /tmp/it; cp -r /src/{{{parts}}} /tmp/it; cd /tmp/it; "$@"'
    run = ["docker", "run", "--rm", "--network", "none", "--volumes-from", run_id(), *options, image]
    return _run([*run, "bash", "-c", clone, "clone", *command], dict(os.environ))


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """Assert that the output is one line, the reason for the exit, and return it."""
    assert done.returncode == 1, done.stdout
    lines = [line for line in done.stdout.splitlines() if line]
    assert len(lines) == 1, done.stdout
    assert lines[0].startswith("sluice: ")
    return lines[0].removeprefix("sluice: ")


def _run(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=SOURCE,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
