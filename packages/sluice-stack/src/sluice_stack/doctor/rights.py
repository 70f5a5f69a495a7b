"""Whether the programs of a host can read their files, checked as each program's user: root can read all."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

from sluice_stack import environment

from .deployment import Program
from .started import started

_USUAL: Final = "www-data"  # in supervisor/conf.d and systemd
_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Account:
    """User and groups of a program, by number."""

    user: int
    group: int
    groups: tuple[int, ...]

    @classmethod
    def own(cls) -> Account:
        """The account of this process."""
        return cls(os.geteuid(), os.getegid(), tuple(os.getgroups()))

    @property
    def name(self) -> str:
        try:
            return pwd.getpwuid(self.user).pw_name
        except KeyError:
            return f"user {self.user}"

    @property
    def group_name(self) -> str:
        try:
            return grp.getgrgid(self.group).gr_name
        except KeyError:
            return str(self.group)

    def unreadable(self, files: Sequence[str]) -> list[str]:
        """The existing files that this account can't read. A process with its ids tries."""
        there = [file for file in files if os.path.exists(file)]
        code = 'for file; do test -r "$file" || printf "%s\\n" "$file"; done'
        return self._said("/bin/sh", "-c", code, "sh", *there)

    def refused(self, right: Literal["read", "write"], folder: Path, *only: str, depth: int) -> str:
        """The first file or folder that this account may not read or write; empty if there is none.

        Checks `folder` itself and what is in it, down to `depth`. `only`: find's tests for what counts.
        """
        found = self._said(
            "/usr/bin/find", str(folder), "-maxdepth", str(depth), "-name", "lost+found", "-prune", "-o",
            *only, "!", {"read": "-readable", "write": "-writable"}[right], "-print", "-quit",
        )  # fmt: skip
        return found[0] if found else ""

    def _said(self, *command: str) -> list[str]:
        """The output lines of a command that runs as this account."""
        change: dict[str, Any] = {}
        if self != Account.own():
            change = {"user": self.user, "group": self.group, "extra_groups": self.groups}
        done = subprocess.run(
            command,
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=_SECONDS,
            check=False,
            **change,
        )
        return done.stdout.splitlines()


def files_of(program: Program) -> list[str]:
    """The files with the program's settings and secrets."""
    common = Path(os.environ.get("SLUICE_ENV_FILE") or environment.ENV_FILE)
    secrets = [
        getattr(program.env, field.name)
        for field in fields(program.env)
        if field.name.endswith(("_password_file", "_key_file"))
    ]
    return [str(common), str(common.with_name(f"{program.name}.env")), *dict.fromkeys(filter(None, secrets))]


def account_of(program: str) -> Account | None:
    """The account of a program's processes.

    If it doesn't run: that of another program, or else www-data. None if there is no such user.
    """
    # Root's processes last: they may be an operator's commands.
    running = sorted(started(), key=lambda one: one.user == 0)
    if found := [one for one in running if one.program == program] or running:
        return Account(found[0].user, found[0].group, found[0].groups)
    try:
        usual = pwd.getpwnam(_USUAL)
    except KeyError:
        return None
    groups = tuple(os.getgrouplist(usual.pw_name, usual.pw_gid))
    return Account(usual.pw_uid, usual.pw_gid, groups)
