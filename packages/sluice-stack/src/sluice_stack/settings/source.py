"""Where the settings take their values from: the environment, checked, and the secrets' files."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from sluice_stack import environment


def _project_directory() -> Path:
    """The folder of manage.py: where the package of DJANGO_SETTINGS_MODULE lies."""
    package = os.environ.get("DJANGO_SETTINGS_MODULE", "mysite.settings").partition(".")[0]
    spec = importlib.util.find_spec(package)
    origin = spec.origin if spec else None
    return Path(origin).resolve().parent.parent if origin else Path.cwd()


BASE_DIR: Final = _project_directory()

try:
    env: Final = environment.load()
except environment.Malformed as error:
    environment.refuse(error.problems, os.environ.get("SLUICE_SERVICE", ""))
    raise


def secret(path: str, name: str) -> str:
    """The secret in the file that the variable `name` names; nothing if it names none. Exits 78 if
    unreadable."""
    if not path:
        return ""
    try:
        return environment.secret(path, name)
    except environment.Malformed as error:
        environment.refuse(error.problems, env.sluice_service)
        raise


def with_password(url: str, password: str) -> str:
    """A URL of the form scheme://user@host/… with the password put in."""
    if not url or not password:
        return url
    parts = urlsplit(url)
    user, _, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}"))


def directory(chosen: str, name: str) -> Path:
    """`chosen`, or the usual place: below /var/lib/sluice, with DEBUG=yes below var/ of the checkout."""
    if chosen:
        return Path(chosen)
    return (development_directory() if env.debug else Path("/var/lib/sluice")) / name


def development_directory() -> Path:
    """var/ of the checkout, which git ignores; made if need be."""
    path = BASE_DIR.parent / "var"
    if not path.exists():
        path.mkdir()
        (path / ".gitignore").write_text("*\n")
    return path


def installed(*names: str) -> bool:
    """Whether the optional packages can be imported (requirements-async.txt). The only place that asks."""
    return all(importlib.util.find_spec(name) is not None for name in names)
