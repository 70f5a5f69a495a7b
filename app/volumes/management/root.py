"""Commands that write the site's files must run as its programs' user: these can't replace root's files, and
often not read them."""

from __future__ import annotations

import os
import pwd
import shlex
import sys
from pathlib import Path

from django.core.management.base import CommandError


def refuse_root(folder: Path) -> None:
    """Raise CommandError, with the command to use instead, if root is about to write into another user's
    folder; one that isn't there yet is taken for the user's of the nearest one above it."""
    if os.geteuid() != 0:
        return
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    owner = there.stat().st_uid
    if owner == 0:
        return
    command = shlex.join([sys.executable, *sys.argv])
    raise CommandError(
        f"do not run this as root: {there} belongs to {_name(owner)}, whose programs can't use root's files."
        f" Run: runuser --user {_name(owner)} -- {command}"
    )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # a container's, which no file here names
        return str(user)
