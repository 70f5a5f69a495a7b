"""Limits that are too low, of the kernel, Nginx and each program, are recognised."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from unit.doctor.house import House
from unit.doctor.mistakes import Mistake, as_it_is, recognised, rewritten


def nginx_conf(old: str, new: str) -> AbstractContextManager[None]:
    """Debian's own main file, which this machine's nginx would start with."""
    file = Path("/etc/nginx/nginx.conf")
    return rewritten(file, re.sub(old, new, file.read_text()))


@contextlib.contextmanager
def few_files_for_rabbitmq(house: House) -> Iterator[None]:
    """Lowered by its own user, for root may not in a container."""
    listed = subprocess.run(["pgrep", "-f", "beam.smp .*rabbit"], capture_output=True, text=True)
    found = listed.stdout.split()
    assert found
    limits = [Path(f"/proc/{pid}/limits").read_text() for pid in found]
    soft = [int(text.split("Max open files")[1].split()[0]) for text in limits]

    def allow(pid: str, files: int) -> None:
        by = ["setpriv", "--reuid=rabbitmq", "--regid=rabbitmq", "--clear-groups"] if os.getuid() == 0 else []
        subprocess.run([*by, "prlimit", f"--pid={pid}", f"--nofile={files}:"], check=True)

    for pid in found:
        allow(pid, 1024)
    try:
        yield
    finally:
        for pid, files in zip(found, soft, strict=True):
            allow(pid, files)


LIMITS = {
    "too few files in all": Mistake(
        as_it_is, "kernel-file-max", "", "1000000000 clients", "sysctl", arguments=("--clients", "1000000000")
    ),
    "too few ports": Mistake(
        as_it_is, "kernel-ports", "", "70000 clients", "ip_local_port_range", arguments=("--clients", "70000")
    ),
    "too few connections of nginx": Mistake(
        lambda house: nginx_conf(r"worker_connections \d+", "worker_connections 512"),
        "nginx-connections",
        "",
        "512 connections, 1512 are needed",
        "worker_connections 1512;",
        arguments=("--clients", "500"),
    ),
    "a mistake in nginx's configuration": Mistake(
        lambda house: nginx_conf("worker_connections", "worker_conections"),
        "nginx-connections",
        "",
        'unknown directive "worker_conections"',
        "mend that line",
    ),
    "too few files for RabbitMQ": Mistake(
        few_files_for_rabbitmq,
        "open-files",
        "RabbitMQ",
        "1024 files may be open, 4096 are needed",
        "LimitNOFILE",
    ),
    "too few files for Gunicorn": Mistake(
        lambda house: house.restarted("gunicorn", "prlimit", "--nofile=256"),
        "open-files",
        "Gunicorn",
        "256 files may be open, 512 are needed",
        "minfds",
    ),
    "too few files for nginx": Mistake(
        as_it_is,
        "open-files",
        "nginx",
        "2000100 are needed for 1000000 clients",
        "worker_rlimit_nofile",
        arguments=("--clients", "1000000"),
    ),
}


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("mistake", LIMITS)
def test_it_recognises_among_the_limits(house: House, front: str, mistake: str) -> None:
    recognised(house, front, LIMITS[mistake])
