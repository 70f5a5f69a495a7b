"""The programs that run here, and whose they are. Only read, from /proc.

In a container all are the site's. A host may run other sites, another RabbitMQ, and containers, whose
processes it sees like its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.conf import settings

from .broker import accounts_of
from .deployment import Deployment
from .finding import LeftOut

PROC: Final = Path("/proc")
DAPHNE: Final = "Daphne"
NGINX: Final = "nginx"
GUNICORN: Final = "Gunicorn"
RABBITMQ: Final = "RabbitMQ"

# How their command lines look.
_PATTERNS: Final = {
    DAPHNE: re.compile(r"python\S* .*(updates\.server|bin/daphne|-m daphne)"),
    # One that is shutting down still has what it was started with, and takes no new clients.
    NGINX: re.compile(r"^nginx: worker process(?! is shutting down)"),
    GUNICORN: re.compile(r"^\S*python\S* .*gunicorn|^gunicorn: "),
    RABBITMQ: re.compile(r"beam\.smp .*rabbit"),
}
_APPLICATIONS: Final = re.compile(r"mysite\.[aw]sgi|updates\.server|sluice-wsgi")
_LISTENS: Final = "0A"  # TCP_LISTEN of the kernel's include/net/tcp_states.h
_NOT_SEEN: Final = "whose it is can't be seen by this user"


@dataclass(frozen=True)
class Process:
    """`stranger`: why it is not the site's; `doubt`: why that can't be told, so that it counts."""

    kind: str
    pid: int
    command: str
    stranger: str = ""
    doubt: str = ""


def processes(deployment: Deployment) -> Iterator[Process]:
    """Those of the four kinds, without those of other containers."""
    found = list(_found())
    if deployment.in_container:
        yield from found
        return
    here = [process for process in found if _is_contained(process.pid) is not True]
    judges: dict[str, Callable[[Deployment, list[Process]], Iterator[Process]]] = {
        DAPHNE: _by_folder,
        GUNICORN: _by_folder,
        NGINX: _nginxs,
        RABBITMQ: _brokers,
    }
    for kind, judge in judges.items():
        yield from judge(deployment, [process for process in here if process.kind == kind])


def _found() -> Iterator[Process]:
    for folder in sorted(PROC.glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue  # it has just ended
        for kind, pattern in _PATTERNS.items():
            if pattern.search(command):
                yield Process(kind, int(folder.name), command)
                break


def _is_contained(pid: int) -> bool | None:
    """Whether it has process numbers or a root directory of its own. None: that can't be seen, or it is gone.

    Not by its mounts: a unit of systemd's with ProtectSystem has mounts of its own too, and the same root.
    """
    try:
        return any(
            _identity(PROC / f"{pid}/{what}") != _identity(PROC / f"self/{what}")
            for what in ("ns/pid", "root")
        )
    except OSError:
        return None


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _by_folder(deployment: Deployment, found: list[Process]) -> Iterator[Process]:
    """The site's run in its folder, or by its virtual environment with its application."""
    for process in found:
        try:
            folder = os.readlink(PROC / f"{process.pid}/cwd").removesuffix(" (deleted)")
        except FileNotFoundError:
            continue  # it has just ended
        except OSError:
            yield _doubted(process, _NOT_SEEN)
            continue
        if Path(folder).is_relative_to(settings.BASE_DIR) or _is_by_our_environment(process.command):
            yield process
        else:
            yield _strange(process, f"it runs in {folder}, the site in {settings.BASE_DIR}")


def _is_by_our_environment(command: str) -> bool:
    has_one = sys.prefix != sys.base_prefix
    return has_one and f"{sys.prefix}/" in command and _APPLICATIONS.search(command) is not None


def _nginxs(deployment: Deployment, found: list[Process]) -> Iterator[Process]:
    """The site's is the one that listens where the site is asked for."""
    port = deployment.front.address.port if deployment.front else 0
    ours = _who_listen({port}, found) if port else set()
    for process in found:
        if process.pid in ours:
            yield process
        elif ours:
            yield _strange(process, f"it does not listen at port {port}, where the site is")
        elif port:
            yield _doubted(process, f"whose it is can't be told: no nginx is seen to listen at port {port}")
        else:
            yield _doubted(process, "whose it is can't be told: the site is not asked from here")


def _brokers(deployment: Deployment, found: list[Process]) -> Iterator[Process]:
    """The site's is the one that listens where its programs look for it, if that is on this machine."""
    ports = _broker_ports(deployment)
    ours = _who_listen(ports, found)
    for process in found:
        if process.pid in ours:
            yield process
        elif not ports:
            yield _strange(process, "the site uses none on this machine")
        elif ours or _sockets(process.pid) is not None:
            places = ", ".join(map(str, sorted(ports)))
            yield _strange(process, f"it does not listen at port {places}, where the site's is")
        else:
            yield _doubted(process, _NOT_SEEN)


def _broker_ports(deployment: Deployment) -> set[int]:
    try:
        accounts = accounts_of(deployment)
    except LeftOut:
        return set()
    places = {(account.address.host, account.address.port) for account in accounts}
    return {port for host, port in places if _is_here(host)}


def _is_here(host: str) -> bool:
    """Whether the name is this machine's: one may listen only at addresses of one's own."""
    with contextlib.suppress(OSError):
        for family, kind, protocol, _, address in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM):
            with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as probe:
                probe.bind(address)
                return True
    return False


def _who_listen(ports: set[int], found: Iterable[Process]) -> set[int]:
    """The numbers of those that have a socket which listens at one of the ports, or whose parent has: nginx's
    workers run as another user than their master, so that not everybody sees theirs.
    """
    wanted = _listening(ports)
    return {
        process.pid
        for process in found
        if wanted & ((_sockets(process.pid) or set()) | (_sockets(_parent(process.pid)) or set()))
    }


def _listening(ports: set[int]) -> set[str]:
    """The sockets' numbers."""
    numbers: set[str] = set()
    for table in ("net/tcp", "net/tcp6"):
        with contextlib.suppress(OSError):
            for line in (PROC / table).read_text().splitlines()[1:]:
                _, local, _, state, *others = line.split()
                if state == _LISTENS and int(local.rpartition(":")[2], 16) in ports:
                    numbers.add(others[5])
    return numbers


def _sockets(pid: int) -> set[str] | None:
    """The numbers of those that it has open; None if that can't be seen."""
    numbers: set[str] = set()
    try:
        for link in (PROC / f"{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                if found := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link)):
                    numbers.add(found[1])
    except OSError:
        return None
    return numbers


def _parent(pid: int) -> int:
    """0 if it is gone."""
    with contextlib.suppress(OSError):
        if found := re.search(r"^PPid:\s+(\d+)", (PROC / f"{pid}/status").read_text(), re.MULTILINE):
            return int(found[1])
    return 0


def _strange(process: Process, why: str) -> Process:
    return Process(process.kind, process.pid, process.command, stranger=why)


def _doubted(process: Process, why: str) -> Process:
    return Process(process.kind, process.pid, process.command, doubt=why)
