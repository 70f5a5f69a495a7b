"""The doctor finds limits of the kernel, nginx and each program that are too low."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from unit.doctor.house import House
from unit.doctor.mistakes import Mistake, as_it_is, recognised, rewritten


def nginx_conf(old: str, new: str) -> AbstractContextManager[None]:
    """Change Debian's main file, which this machine's nginx would start with."""
    file = Path("/etc/nginx/nginx.conf")
    return rewritten(file, re.sub(old, new, file.read_text()))


LIMITS = {
    "too few files in all": Mistake(
        as_it_is, "kernel-file-max", "", "1000000000 clients", "sysctl", arguments=("--clients", "1000000000")
    ),
    "too few ports": Mistake(
        as_it_is,
        "kernel-ports",
        "",
        "70000 clients",
        "ip_local_port_range",
        "warning",
        arguments=("--clients", "70000"),
    ),
    "too few connections of nginx": Mistake(
        lambda house: nginx_conf(r"worker_connections \d+", "worker_connections 512"),
        "nginx-connections",
        "",
        "512 connections, and needs 1512",
        "worker_connections 1512;",
        arguments=("--clients", "500"),
    ),
    "a mistake in nginx's configuration": Mistake(
        lambda house: nginx_conf("worker_connections", "worker_conections"),
        "nginx-connections",
        "",
        'unknown directive "worker_conections"',
        "correct that line",
    ),
    "too few files for Gunicorn": Mistake(
        lambda house: house.restarted("gunicorn", "prlimit", "--nofile=256"),
        "open-files",
        "gunicorn",
        "may open 256 files, and needs 512",
        "minfds",
    ),
    "too few files for Daphne": Mistake(
        as_it_is,
        "open-files",
        "daphne",
        "needs 10000050 for 10000000 clients",
        "LimitNOFILE",
        arguments=("--clients", "10000000"),
    ),
    "too few files for nginx": Mistake(
        lambda house: nginx_conf(
            r"events\s*\{[^}]*\}", "worker_rlimit_nofile 600; events { worker_connections 1112; }"
        ),
        "nginx-connections",
        "",
        "may open 600 files, and needs 700",
        "worker_rlimit_nofile 700;",
        arguments=("--clients", "300"),
    ),
    "no number of files for nginx": Mistake(
        lambda house: nginx_conf(r"worker_connections \d+", "worker_connections 1512"),
        "nginx-connections",
        "",
        "sets no limit of open files, so its workers may have 1024; they need 1100",
        "worker_rlimit_nofile 1100;",
        "warning",
        arguments=("--clients", "500"),
    ),
}


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("mistake", LIMITS)
def test_it_recognises_among_the_limits(house: House, front: str, mistake: str) -> None:
    recognised(house, front, LIMITS[mistake])
