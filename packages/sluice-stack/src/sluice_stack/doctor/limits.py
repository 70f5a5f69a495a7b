"""Limits of the kernel, of nginx's configuration and of the site's running programs. Nothing is changed.

In a container only its own program is checked, on a host (as root) all of the site's. Processes of others,
such as nginx and RabbitMQ, are not checked.
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

from sluice_stack.environment import HOST_PROGRAMS

from .deployment import Check, Deployment
from .finding import Finding, Skipped, failed, passed, skipped, warning
from .nginx_configuration import numbers
from .started import PROC, started

BACKLOG: Final = 4096  # what Daphne, Gunicorn and nginx ask for
# Open files of the whole machine without clients.
_FILES_ANYWAY: Final = 20_000


@dataclass(frozen=True)
class Need:
    """How many open files a program needs, and where the limit is set."""

    per_client: int
    anyway: int
    unit: str

    def files(self, clients: int) -> int:
        return self.per_client * clients + self.anyway

    @property
    def fix(self) -> str:
        return (
            "raise minfds in supervisor's place file and restart supervisord; with systemd raise LimitNOFILE"
            f" (systemctl edit {self.unit}) and run sluice-restart; in containers raise the engine's own"
            " LimitNOFILE"
        )


# By the program's name on a host.
NEEDS: Final = {
    "daphne": Need(per_client=1, anyway=50, unit="sluice-daphne@"),
    "gunicorn": Need(per_client=0, anyway=512, unit="sluice-gunicorn@"),
}
# For an nginx worker: two files for each client, and its own.
_NGINX: Final = Need(per_client=2, anyway=100, unit="nginx")
# The default of systemd and of most shells.
_USUAL: Final = 1024


def _file_max(deployment: Deployment) -> Iterator[Finding]:
    value = _number("sys/fs/file-max")
    needed = 3 * deployment.clients + _FILES_ANYWAY
    if value < needed:
        yield failed(
            f"fs.file-max is {value}, and {deployment.clients} clients need {needed}",
            "remove `fs.file-max` from /etc/sysctl.conf and /etc/sysctl.d, and restart the machine:"
            " the kernel's own value is far higher",
        )
    else:
        yield passed(f"{value} files may be open")


def _somaxconn(deployment: Deployment) -> Iterator[Finding]:
    value = _number("sys/net/core/somaxconn")
    if value < BACKLOG:
        yield warning(
            f"net.core.somaxconn is {value}: when more clients reconnect at once, they are refused",
            f"set net.core.somaxconn = {BACKLOG} in /etc/sysctl.d/, run sysctl --system,"
            " and restart nginx and Daphne",
        )
    else:
        yield passed(f"{value} connections may wait to be accepted")


def _ports(deployment: Deployment) -> Iterator[Finding]:
    try:
        low, high = map(int, (PROC / "sys/net/ipv4/ip_local_port_range").read_text().split())
    except (OSError, ValueError):
        raise Skipped("the kernel shows no value") from None
    room = high - low + 1
    if room >= deployment.clients:
        yield passed(f"{room} ports between nginx and Daphne")
        return
    message = (
        f"net.ipv4.ip_local_port_range has {room} ports, and each of {deployment.clients} clients takes"
        " one between nginx and Daphne"
    )
    fix = "widen it in /etc/sysctl.d/ (net.ipv4.ip_local_port_range = 10240 65535)"
    if deployment.in_container:
        yield failed(message, fix)
    else:
        yield warning(
            f"{message}, unless nginx reaches Daphne by a unix socket",
            f"{fix}, or let Daphne listen on a unix socket ($sluice_asgi)",
        )


def _vanished(deployment: Deployment) -> Iterator[Finding]:
    value = _number("sys/net/ipv4/tcp_retries2")
    long = ", so a vanished client keeps its files for up to 15 minutes (7: two minutes)"
    yield passed(f"net.ipv4.tcp_retries2 is {value}{long if value > 8 else ''}")


def _open_files(deployment: Deployment) -> Iterator[Finding]:
    found = False
    for program, pid in _programs(deployment):
        limit = _limit(pid)
        if limit is not None:
            found = True
            yield _of_program(program, pid, limit, deployment.clients)
    if deployment.in_container:
        yield _of_engine(deployment.clients)
    elif not found:
        yield skipped(
            "no Gunicorn or Daphne of the site is visible here; run this as root to see all processes"
        )


def _programs(deployment: Deployment) -> Iterator[tuple[str, int]]:
    """The site's processes that need files for clients, recognised by the settings in their environment."""
    if not deployment.in_container:
        yield from ((process.program, process.pid) for process in started() if process.program in NEEDS)
    elif (program := HOST_PROGRAMS.get(deployment.env.sluice_service)) in NEEDS and os.getpid() != 1:
        yield program, 1  # supervisord; the program inherits its limit


def _of_program(program: str, pid: int, limit: int, clients: int) -> Finding:
    need = NEEDS[program]
    where, needed = f"{program}, process {pid}", need.files(clients)
    if limit >= needed:
        return passed(f"it may open {limit} files, and needs {needed}", where)
    for_whom = f" for {clients} clients" if need.per_client else ""
    return failed(f"it may open {limit} files, and needs {needed}{for_whom}", need.fix, where)


def _of_engine(clients: int) -> Finding:
    """The engine's limit for nginx: its container has the same hard limit as this one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * clients + 512
    if hard != resource.RLIM_INFINITY and hard < needed:
        return failed(
            f"the engine gives a container {hard} files, and nginx needs {needed} for {clients} clients",
            "raise LimitNOFILE of docker.service (systemctl edit docker), or lower MAX_CLIENTS in .env",
            "the engine",
        )
    return passed(
        f"containers get {'any number of' if hard == resource.RLIM_INFINITY else hard} files", "the engine"
    )


def _configuration(deployment: Deployment) -> subprocess.CompletedProcess[str]:
    """Run `nginx -T`, which prints the whole configuration. Raises Skipped if it can't run here."""
    if deployment.in_container:
        raise Skipped("nginx's container sets it from MAX_CLIENTS")
    binary = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if binary is None or os.geteuid() != 0:
        raise Skipped("no nginx is installed here, or this is not root")
    return subprocess.run([binary, "-T"], capture_output=True, text=True, timeout=15, check=False)


def _nginx(deployment: Deployment) -> Iterator[Finding]:
    """Limits that /proc does not show."""
    done = _configuration(deployment)
    if done.returncode != 0:
        said = next((line for line in done.stderr.splitlines() if "[emerg]" in line), "see nginx -t")
        yield failed(
            f"nginx can't start with its configuration: {said.partition('[emerg] ')[2] or said}",
            "correct that line",
        )
        return
    yield _of_connections(done.stdout, deployment.clients)
    yield _of_files(done.stdout, deployment.clients)


def _of_connections(text: str, clients: int) -> Finding:
    """`text` is the output of nginx -T."""
    connections, needed = max(numbers(text, "worker_connections"), default=512), 2 * clients + 512
    if connections < needed:
        return failed(
            f"an nginx worker holds {connections} connections, and needs {needed} for {clients} clients",
            f"set worker_connections {needed}; in events {{ }} of /etc/nginx/nginx.conf",
        )
    return passed(f"an nginx worker holds {connections} connections")


def _of_files(text: str, clients: int) -> Finding:
    needed = _NGINX.files(clients)
    files = max(numbers(text, "worker_rlimit_nofile"), default=0)
    fix = f"set worker_rlimit_nofile {needed}; at the top of /etc/nginx/nginx.conf"
    if files and files < needed:
        return failed(
            f"an nginx worker may open {files} files, and needs {needed} for {clients} clients", fix
        )
    if not files and needed > _USUAL:
        return warning(
            f"nginx sets no limit of open files, so its workers may have {_USUAL}; they need {needed}"
            f" for {clients} clients",
            fix,
        )
    return passed(f"an nginx worker may open {files or _USUAL} files")


def _limit(pid: int) -> int | None:
    """How many files the process may open; None if it has ended."""
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
        raise Skipped("the kernel shows no value") from None


CHECKS: Final = [
    Check("kernel-file-max", "the kernel allows enough open files", _file_max),
    Check("kernel-somaxconn", "all clients may reconnect at once", _somaxconn),
    Check("kernel-ports", "nginx has a port for each client's connection to Daphne", _ports),
    Check("kernel-tcp-retries2", "a vanished client is dropped in time", _vanished),
    Check("open-files", "each program may open enough files", _open_files),
    Check(
        "nginx-connections",
        "nginx holds enough connections and files, and its configuration is valid",
        _nginx,
    ),
]
