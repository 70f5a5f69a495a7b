"""Processes that supervisord or systemd has started with this host's settings, as /proc shows them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")


@dataclass(frozen=True)
class Started:
    """A process of any user. Its children have the same settings, so they are listed too.

    `program` is its name in /etc/sluice. `by_supervisord`: a supervisord has started it, which may have
    ended.
    """

    pid: int
    parent: int
    program: str
    by_supervisord: bool
    user: int
    group: int
    groups: tuple[int, ...]


def started() -> Iterator[Started]:
    """The visible processes of programs that use the same settings files as this process."""
    for folder in PROC.glob("[0-9]*"):
        try:
            environ = dict(
                line.split("=", 1)
                for line in os.fsdecode((folder / "environ").read_bytes()).split("\0")
                if "=" in line
            )
            status = dict(
                line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line
            )
        except OSError:  # it has ended
            continue
        same = environ.get("SLUICE_ENV_FILE", "") == os.environ.get("SLUICE_ENV_FILE", "")
        is_ours = same and not environ.get("SLUICE_SERVICE") and folder.name != str(os.getpid())
        if (program := environ.get("SLUICE_PROGRAM")) and is_ours:
            user, group = (int(status[kind].split()[1]) for kind in ("Uid", "Gid"))
            yield Started(
                pid=int(folder.name),
                parent=int(status["PPid"]),
                program=program,
                by_supervisord="SUPERVISOR_PROCESS_NAME" in environ,
                user=user,
                group=group,
                groups=tuple(map(int, status["Groups"].split())),
            )


def all_are_seen() -> bool:
    """Whether this process may see all others. Root may, except in some containers."""
    for file in PROC.glob("[0-9]*/environ"):
        try:
            file.read_bytes()
        except PermissionError:
            return False
        except OSError:  # it has ended
            continue
    return True
