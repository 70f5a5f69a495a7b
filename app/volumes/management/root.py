"""Refuses commands that would write the site's files as root: the site's programs could not replace them."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from pathlib import Path

from django.core.management.base import CommandError


def refuse_root(folder: Path) -> None:
    """Raise CommandError if root is about to write to another user's folder.

    The message has the right command. If the folder doesn't exist, the nearest one above it counts.
    """
    if os.geteuid() != 0:
        return
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    owner = there.stat().st_uid
    if owner == 0:
        return
    command = shlex.join([sys.executable, *sys.argv])
    raise CommandError(
        f"this runs as root, but {there} belongs to {_name(owner)}, whose programs can't use root's files."
        f" Run: runuser --user {_name(owner)} -- {command}"
    )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # a user of a container, who has no name here
        return str(user)
