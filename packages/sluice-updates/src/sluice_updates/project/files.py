"""Replaces files: all of them or none, and each at once, with its owner and permissions."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

_DEFERRED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def replace_all(files: Mapping[Path, tuple[bytes, bytes]]) -> None:
    """Replace each file's bytes, (before, after). Raises OSError; no file has changed then.

    The new files are complete on the disk before the first is renamed. Signals wait meanwhile.
    """
    with ExitStack() as stack:
        staged: list[tuple[Path, Path, Path]] = []
        for path, (before, after) in files.items():
            target = path.resolve()  # a symbolic link stays one
            if target.read_bytes() != before:
                raise OSError(f"{path} has just been changed by another program")
            new, old = _staged(stack, target, after), _staged(stack, target, before)
            staged.append((target, new, old))
        _rename(staged)


def _rename(staged: list[tuple[Path, Path, Path]]) -> None:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _DEFERRED)
    renamed: list[tuple[Path, Path]] = []
    try:
        for target, new, old in staged:
            os.replace(new, target)
            renamed.append((target, old))
    except OSError:
        for target, old in renamed:
            os.replace(old, target)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _staged(stack: ExitStack, target: Path, data: bytes) -> Path:
    """A file beside the target, with its owner and permissions. The stack removes it at its end."""
    number, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    stack.callback(_remove, name)
    status = target.stat()
    with os.fdopen(number, "wb") as file:
        file.write(data)
        if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(number, status.st_uid, status.st_gid)
        os.fchmod(number, status.st_mode & 0o7777)
        file.flush()
        os.fsync(number)
    return Path(name)


def _remove(name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name)
