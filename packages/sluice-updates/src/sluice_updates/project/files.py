"""Replaces files: all of them or none, and each at once, with its owner and permissions."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
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
            if any(target == other for other, _, _ in staged):  # one of the two edits would be lost
                raise OSError(f"{path} and another file to edit are one file, by a symbolic link")
            if target.read_bytes() != before:
                raise OSError(f"{path} has just been changed by another program")
            new, old = _staged(stack, target, after), _staged(stack, target, before)
            staged.append((target, new, old))
        _rename(staged)


def _rename(staged: list[tuple[Path, Path, Path]]) -> None:
    renamed: list[tuple[Path, Path]] = []
    with _signals_wait():
        try:
            for target, new, old in staged:
                os.replace(new, target)
                renamed.append((target, old))
        except OSError:
            for target, old in renamed:
                os.replace(old, target)
            raise


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Signals count at the end of the block. To block them would not do: another thread could take them."""
    if threading.current_thread() is not threading.main_thread():  # signals never interrupt it
        yield
        return
    arrived: list[signal.Signals] = []
    handlers = {
        number: signal.signal(number, lambda number, _: arrived.append(signal.Signals(number)))
        for number in _DEFERRED
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in arrived:
            signal.raise_signal(number)


def _staged(stack: ExitStack, target: Path, data: bytes) -> Path:
    """A file beside the target, with its owner and permissions. The stack removes it at its end."""
    number, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    stack.callback(_remove, name)
    status = target.stat()
    with os.fdopen(number, "wb") as file:
        file.write(data)
        made = os.fstat(number)  # in a folder with setgid, the group is the folder's
        if (status.st_uid, status.st_gid) != (made.st_uid, made.st_gid):
            os.fchown(number, status.st_uid, status.st_gid)
        os.fchmod(number, status.st_mode & 0o7777)
        file.flush()
        os.fsync(number)
    return Path(name)


def _remove(name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name)
