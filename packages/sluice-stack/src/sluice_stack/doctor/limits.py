"""Limits: the kernel's, nginx's own, and those that running programs have been given. Only read.

A program is seen where it runs: in a container its own, on a host all of the site's (as root).
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from .deployment import Deployment
from .finding import Check, Finding, LeftOut, failure, left_out, ok, warning
from .nginx_configuration import Configuration
from .running import DAPHNE, GUNICORN, NGINX, PROC, RABBITMQ, Process, processes

BACKLOG: Final = 4096  # what Daphne, Gunicorn and nginx ask for
# Files that are open in all programs together, without the clients'.
_FILES_ANYWAY: Final = 20_000


@dataclass(frozen=True)
class Need:
    """How many files a program needs, and where that is set."""

    per_client: int
    anyway: int
    cure: str


NEEDS: Final = {
    DAPHNE: Need(
        1,
        50,
        "minfds in supervisor's place file, then a new start of supervisord; with systemd LimitNOFILE"
        " (systemctl edit sluice-daphne@), then sluice-restart; in containers the engine's own LimitNOFILE",
    ),
    NGINX: Need(
        2,
        100,
        "worker_rlimit_nofile in /etc/nginx/nginx.conf; in containers the engine's own LimitNOFILE",
    ),
    GUNICORN: Need(
        0,
        512,
        "minfds in supervisor's place file, then a new start of supervisord; with systemd LimitNOFILE"
        " (systemctl edit sluice-gunicorn@), then sluice-restart",
    ),
    RABBITMQ: Need(0, 4096, "LimitNOFILE of rabbitmq-server.service (systemctl edit rabbitmq-server), 65536"),
}


def _file_max(deployment: Deployment) -> Iterator[Finding]:
    value = _number("sys/fs/file-max")
    needed = 3 * deployment.clients + _FILES_ANYWAY
    if value < needed:
        yield failure(
            f"fs.file-max is {value}; {needed} are needed for {deployment.clients} clients",
            "somebody lowered it: take `fs.file-max` out of /etc/sysctl.conf and /etc/sysctl.d, and start the"
            " machine anew; the kernel's own value is far higher",
        )
    else:
        yield ok(f"{value} files may be open")


def _somaxconn(deployment: Deployment) -> Iterator[Finding]:
    value = _number("sys/net/core/somaxconn")
    if value < BACKLOG:
        yield warning(
            f"net.core.somaxconn is {value}: when all clients come back at once,"
            " those beyond it are turned away",
            f"net.core.somaxconn = {BACKLOG} in /etc/sysctl.d/, sysctl --system,"
            " then restart nginx and Daphne",
        )
    else:
        yield ok(f"{value} connections may wait to be accepted")


def _ports(deployment: Deployment) -> Iterator[Finding]:
    try:
        low, high = map(int, (PROC / "sys/net/ipv4/ip_local_port_range").read_text().split())
    except (OSError, ValueError):
        raise LeftOut("the kernel doesn't say") from None
    room = high - low + 1
    if room >= deployment.clients:
        yield ok(f"{room} ports between nginx and Daphne")
    elif _asks_on_a_socket(deployment):
        yield ok(f"{room} ports, and none is taken between nginx and Daphne, which it asks on a unix socket")
    else:
        yield failure(
            f"net.ipv4.ip_local_port_range has {room} ports, and each of {deployment.clients} clients takes"
            " one between nginx and Daphne",
            "widen it in /etc/sysctl.d/ (net.ipv4.ip_local_port_range = 10240 65535),"
            " or let Daphne listen on a unix socket ($sluice_asgi, or what else nginx's location for"
            " /channels/ passes on to)",
        )


def _vanished(deployment: Deployment) -> Iterator[Finding]:
    value = _number("sys/net/ipv4/tcp_retries2")
    long = (
        ", so a client that vanished keeps its files for up to a quarter of an hour (7 makes it two minutes)"
    )
    yield ok(f"net.ipv4.tcp_retries2 is {value}{long if value > 8 else ''}")


def _open_files(deployment: Deployment) -> Iterator[Finding]:
    found = False
    strangers: dict[tuple[str, str], list[int]] = {}
    for process in processes(deployment):
        if process.stranger:
            strangers.setdefault((process.kind, process.stranger), []).append(process.pid)
            continue
        limit = _limit(process.pid)
        if limit is not None:
            found = True
            yield _of_process(process, limit, deployment.clients)
    for (kind, why), pids in strangers.items():
        listed = ", ".join(map(str, pids))
        yield left_out(f"not the site's: {why}", f"{kind}, process {listed}")
    if deployment.in_container:
        yield _of_engine(deployment.clients)
    elif not found:
        yield left_out("no program of the site runs here")


def _of_process(process: Process, limit: int, clients: int) -> Finding:
    need = NEEDS[process.kind]
    where = f"{process.kind}, process {process.pid}"
    needed = need.per_client * clients + need.anyway
    doubt = f" ({process.doubt})" if process.doubt else ""
    if limit >= needed:
        return ok(f"{limit} files may be open, {needed} are needed{doubt}", where)
    for_whom = f" for {clients} clients" if need.per_client else ""
    return failure(f"{limit} files may be open, {needed} are needed{for_whom}{doubt}", need.cure, where)


def _of_engine(clients: int) -> Finding:
    """nginx's container has the same hard limit as this one, and no more can be given to its workers."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * clients + 512
    if hard != resource.RLIM_INFINITY and hard < needed:
        return failure(
            f"the engine gives a container {hard} files, nginx needs {needed} for {clients} clients",
            "LimitNOFILE of docker.service (systemctl edit docker), or fewer MAX_CLIENTS in .env",
            "the engine",
        )
    return ok(
        f"containers get {'any number of' if hard == resource.RLIM_INFINITY else hard} files", "the engine"
    )


def _configuration(deployment: Deployment) -> subprocess.CompletedProcess[str]:
    """What the installed nginx is configured for, by nginx -T. Raises LeftOut if that can't be seen."""
    if deployment.in_container:
        raise LeftOut("nginx's container sees to it: MAX_CLIENTS")
    binary = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if binary is None or os.geteuid() != 0:
        raise LeftOut("no nginx is installed here, or this isn't root")
    return subprocess.run([binary, "-T"], capture_output=True, text=True, timeout=15, check=False)


def _asks_on_a_socket(deployment: Deployment) -> bool:
    """Whether nginx is seen to ask Daphne on a unix socket, and nowhere else."""
    try:
        places = Configuration(_configuration(deployment).stdout).passed_on(below="channels")
    except LeftOut:
        return False
    return bool(places) and all(place.startswith("unix:") for place in places)


def _nginx(deployment: Deployment) -> Iterator[Finding]:
    """What /proc does not show."""
    done = _configuration(deployment)
    if done.returncode != 0:
        said = next((line for line in done.stderr.splitlines() if "[emerg]" in line), "nginx -t says why")
        yield failure(
            f"nginx could not start with its configuration: {said.partition('[emerg] ')[2] or said}",
            "mend that line",
        )
        return
    yield _of_configuration(done.stdout, deployment.clients)


def _of_configuration(text: str, clients: int) -> Finding:
    """`text` as nginx -T writes it."""
    values = [int(one.words[1]) for one in Configuration(text).named("worker_connections")]
    connections, needed = max(values, default=512), 2 * clients + 512
    if connections < needed:
        return failure(
            f"a worker of nginx holds {connections} connections, {needed} are needed for {clients} clients",
            f"worker_connections {needed}; in events {{ }} of /etc/nginx/nginx.conf",
        )
    return ok(f"a worker of nginx holds {connections} connections")


def _limit(pid: int) -> int | None:
    """Files that the process may open; None if it is gone."""
    try:
        found = re.search(r"^Max open files\s+(\S+)", (PROC / f"{pid}/limits").read_text(), re.MULTILINE)
    except OSError:
        return None
    if found is None:
        return None
    return int(found[1]) if found[1].isdigit() else 2**63 - 1


def _number(name: str) -> int:
    try:
        return int((PROC / name).read_text().split()[0])
    except (OSError, ValueError, IndexError):
        raise LeftOut("the kernel doesn't say") from None


CHECKS: Final = [
    Check("kernel-file-max", "the kernel lets enough files be open", _file_max),
    Check("kernel-somaxconn", "all clients may come back at once", _somaxconn),
    Check("kernel-ports", "nginx has a port for each client's way to Daphne", _ports),
    Check("kernel-tcp-retries2", "how soon a vanished client is given up", _vanished),
    Check("open-files", "each program may open as many files as its clients need", _open_files),
    Check("nginx-connections", "nginx holds as many connections, and its configuration is valid", _nginx),
]
