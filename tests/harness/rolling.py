"""`make roll` on a stack of the tests' own: the operator's script, in a folder laid out like a clone."""

from __future__ import annotations

import os
import shutil
import subprocess

from .compose import SOURCE
from .stack import Stack

DEADLINE = 400.0  # seconds; a Celery worker may take 75 to finish its current tasks


def roll(stack: Stack, service: str = "", *, deadline: float = DEADLINE) -> str:
    """Replace the service's containers (default: the whole application's) one by one, and return the script's
    output. Raises RollFailed.

    The new containers use the stack's images and its current settings. The function returns when they are
    healthy and the old ones are gone. It builds no images.
    """
    done = run_script(stack, "roll", "--no-build", *([service] if service else []), deadline=deadline)
    if done.returncode:
        raise RollFailed(done.stdout)
    return done.stdout


class RollFailed(AssertionError):
    """The script exited with a status other than 0. The message is its output."""


def run_script(
    stack: Stack, script: str, *arguments: str, deadline: float
) -> subprocess.CompletedProcess[str]:
    """Run one of scripts/ as make does. `.stdout` includes standard error."""
    scripts = stack.folder / "scripts"
    shutil.copytree(SOURCE / "scripts", scripts, dirs_exist_ok=True)
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [scripts / script, *arguments],
        env=environment | {"COMPOSE_PROJECT_NAME": stack.name},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=deadline,
        check=False,
    )
