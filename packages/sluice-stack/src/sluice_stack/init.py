"""`python -m sluice_stack.init`: the first service to run. Checks the settings and creates missing secrets.

It needs the standard library only. It never changes an existing secret. To replace one, delete its file and
start again.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import stat
import string
from pathlib import Path
from typing import Final

from . import environment

DIRECTORY: Final = Path("/run/sluice/secrets")

# One group for each secret. A service has the groups of its own secrets (`group_add` in compose.yaml), so it
# can read no others: docs/reference/secrets.md.
GROUPS: Final = {
    "django_secret_key": 2301,
    "admin_password": 2302,
    "db_owner": 2310,
    "db_wsgi": 2311,
    "db_asgi": 2312,
    "db_worker": 2313,
    "db_celery": 2314,
    "db_beat": 2315,
    "mq_layer": 2320,
    "mq_publisher": 2321,
    "mq_celery": 2322,
    "mq_tasks": 2323,
}
MODE: Final = 0o440
# Characters. Django warns about a key with less than 50.
LENGTH: Final = 64
# Letters and digits have no special meaning in a shell, a URL, SQL or JSON.
ALPHABET: Final = string.ascii_letters + string.digits
FORM: Final = re.compile(r"[A-Za-z0-9]{32,}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sluice_stack.init", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--directory", type=Path, default=DIRECTORY, help="the secrets' directory (%(default)s)"
    )
    directory = parser.parse_args().directory
    environment.refuse(environment.check(os.environ), "init")
    print("sluice init: settings checked", flush=True)
    try:
        made = [name for name in GROUPS if ensure(directory, name)]
    except Unusable as error:
        environment.refuse([str(error)], "init")
        return
    done = f"created {', '.join(made)}" if made else "all exist"
    print(f"sluice init: {len(GROUPS)} secrets in {directory}: {done}", flush=True)


class Unusable(Exception):
    """A secret or the directory can't be used. The text has the problem and the fix."""


def ensure(directory: Path, name: str) -> bool:
    """Check the secret, or create it if it is missing. Returns whether it was created. Raises Unusable."""
    path = directory / name
    try:
        if _is_there(path):
            _check(path, GROUPS[name])
            return False
        _make(path, GROUPS[name], LENGTH)
        return True
    except OSError as error:
        raise Unusable(
            f"{path}: {error.strerror}; {directory} must belong to user {os.getuid()},"
            f" which must be in group {GROUPS[name]}"
        ) from error


def _is_there(path: Path) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(status.st_mode):
        raise Unusable(f"{path} is not a file; remove it, and the next start creates the secret")
    return status.st_size > 0


def _check(path: Path, group: int) -> None:
    status = path.stat()
    if status.st_gid != group:
        os.chown(path, -1, group)
    if stat.S_IMODE(status.st_mode) != MODE:
        path.chmod(MODE)
    if not FORM.fullmatch(path.read_text(errors="replace").rstrip("\n")):
        raise Unusable(
            f"{path} is malformed: it must be 32 or more letters and digits;"
            " remove it, and the next start creates a new one"
        )


def _make(path: Path, group: int, length: int) -> None:
    """Create the secret atomically: an interrupted start leaves no partial secret."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o400)
    try:
        os.fchown(handle, -1, group)
        os.fchmod(handle, MODE)
        os.write(handle, "".join(secrets.choice(ALPHABET) for _ in range(length)).encode())
        os.fsync(handle)
    finally:
        os.close(handle)
    os.replace(unfinished, path)


if __name__ == "__main__":
    main()
