"""Versions of what is installed here. database.py and broker.py check PostgreSQL's and RabbitMQ's."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from django.conf import settings

from .deployment import Check, Deployment
from .finding import Finding, Skipped, failed, passed, warning

OLDEST_NGINX: Final = (1, 22)  # Debian 12's
_LOCKED: Final = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)([^\\\n]*)", re.MULTILINE)
_SHOWN: Final = 4


def _python(deployment: Deployment) -> Iterator[Finding]:
    yield passed(f"Python {platform.python_version()}")  # sluice_stack itself refuses an older one


def _packages(deployment: Deployment) -> Iterator[Finding]:
    files = ["requirements.txt", *(["requirements-async.txt"] if _has_some_of_async() else [])]
    for name in files:
        file = Path(getattr(settings, "BASE_DIR", ".")) / name
        if not file.exists():
            continue
        gone, other = _compared(file)
        fix = f"venv/bin/pip install --require-hashes --requirement app/{name}, then restart the programs"
        if gone:
            yield failed(f"not installed: {_some(gone)}", fix, name)
        elif other:
            yield warning(f"not the tested versions: {_some(other)}", fix, name)
        else:
            yield passed("all in the tested versions", name)


def _has_some_of_async() -> bool:
    return any(_installed(name) for name in ("channels", "daphne", "channels-rabbitmq", "celery"))


def _compared(file: Path) -> tuple[list[str], list[str]]:
    """Packages of a lock file that aren't installed, and those that have another version."""
    gone: list[str] = []
    other: list[str] = []
    for name, wanted, marker in _LOCKED.findall(file.read_text(encoding="utf-8")):
        version = _installed(name)
        if version is None and ";" not in marker:  # a marker: for other systems or other Pythons
            gone.append(name)
        elif version is not None and version != wanted.rstrip(";") and ";" not in marker:
            other.append(f"{name} {version} ({wanted})")
    return gone, other


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _nginx(deployment: Deployment) -> Iterator[Finding]:
    if deployment.in_container:
        raise Skipped("nginx has its own container, with a tested version")
    binary = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise Skipped("no nginx is installed here")
    said = subprocess.run([binary, "-v"], capture_output=True, text=True, timeout=15, check=False).stderr
    found = re.search(r"nginx/(\d+)\.(\d+)\S*", said)
    if found is None:
        raise Skipped("nginx shows no version")
    if (int(found[1]), int(found[2])) < OLDEST_NGINX:
        yield failed(f"{found[0]} is too old", "install nginx 1.22 or newer, which Debian 12 has")
    else:
        yield passed(found[0])


CHECKS: Final = [
    Check("version-python", "Python is 3.11 or newer", _python),
    Check("version-packages", "the packages have the tested versions", _packages),
    Check("version-nginx", "nginx is 1.22 or newer", _nginx),
]
