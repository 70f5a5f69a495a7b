"""`make roll` on a stack of the tests' own: the operator's script, in a folder laid out as a clone is."""

from __future__ import annotations

import os
import shutil
import subprocess

from .compose import SOURCE
from .stack import Stack

DEADLINE = 400.0  # seconds; a Celery worker alone may take 75 to finish what it has in hand


def roll(stack: Stack, service: str = "", *, deadline: float = DEADLINE) -> str:
    """Replace the service's containers (default: the whole application's) one by one, by new ones of the
    stack's images and of its settings as they are now; returns what the script wrote. Raises RollFailed.

    It returns when the new ones are healthy and the old ones are gone. The images are not built.
    """
    done = run_script(stack, "roll", "--no-build", *([service] if service else []), deadline=deadline)
    if done.returncode:
        raise RollFailed(done.stdout)
    return done.stdout


class RollFailed(AssertionError):
    """The script ended with a status other than 0; what it wrote is the message."""


def run_script(
    stack: Stack, script: str, *arguments: str, deadline: float
) -> subprocess.CompletedProcess[str]:
    """One of scripts/, as make runs it; standard error is in `.stdout` too."""
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
