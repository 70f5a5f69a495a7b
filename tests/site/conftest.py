"""A site with two users, and a small volume in which each voxel's value encodes its position."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import django
import numpy
import pytest

# pytest imports the models while it collects, before pytest-django sets Django up.
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402

import mysite  # noqa: E402
from harness.servers import RabbitMQ  # noqa: E402

APP = Path(mysite.__file__).parent.parent
SHAPE = (30, 70, 100)  # z, y, x


@pytest.fixture(autouse=True)
def places(settings: Any, tmp_path: Path) -> None:
    """Folders of this test's own, and static files without collectstatic."""
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.VOLUMES_ROOT = tmp_path / "volumes"
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # fast, for tests only
    settings.STORAGES = settings.STORAGES | {
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    }


@pytest.fixture
def voxels() -> numpy.ndarray:
    """z, y, x. Each value occurs once."""
    return numpy.arange(numpy.prod(SHAPE), dtype="uint32").reshape(SHAPE)


@pytest.fixture
def volume(db: None, settings: Any, voxels: numpy.ndarray) -> Any:
    from volumes import formats, stores

    def slabs(depth: int) -> Iterator[numpy.ndarray]:
        return (voxels[start : start + depth] for start in range(0, len(voxels), depth))

    source = formats.Source(SHAPE, "uint32", (0.5, 0.5, 2.0), "mm", slabs)
    return stores.import_source(source, "Small", settings.VOLUMES_ROOT, lambda percent: None)


@pytest.fixture
def ada(db: None) -> Any:
    return get_user_model().objects.create_user("ada", password="secret of ada")


@pytest.fixture
def bob(db: None) -> Any:
    return get_user_model().objects.create_user("bob", password="secret of bob")


@pytest.fixture
def as_ada(ada: Any) -> Client:
    """Ada's browser, signed in. Like a real one, it must send the CSRF token."""
    client = Client()
    client.force_login(ada)
    return client


@pytest.fixture
def as_bob(bob: Any) -> Client:
    """Another user's browser, signed in."""
    client = Client()
    client.force_login(bob)
    return client


@pytest.fixture
def environment_of_others(settings: Any, tmp_path: Path) -> dict[str, str]:
    """The environment with which another process uses the same folders, and the same database if it is
    PostgreSQL.
    """
    environ = os.environ | {
        "MEDIA_ROOT": str(settings.MEDIA_ROOT),
        "VOLUMES_ROOT": str(settings.VOLUMES_ROOT),
    }
    if connection.vendor == "postgresql":
        place = "{USER}@{HOST}:{PORT}/{NAME}".format_map(connection.settings_dict)
        environ["DATABASE_URL"] = f"postgresql://{place}"
    return environ


@pytest.fixture
def elsewhere(environment_of_others: dict[str, str]) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Runs Python code with Django in another process, which is killed at the end of the test."""
    with ExitStack() as stack:

        def start(code: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-c", f"import django; django.setup()\n{code}"]
            process = subprocess.Popen(command, cwd=APP, env=environment_of_others)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def tasks_at(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Makes this process publish its tasks to a broker. Otherwise they run where they are called."""
    from mysite.celery import app

    assert app.conf.task_always_eager  # compute it now, from the present settings

    def tasks_at(url: str) -> None:
        settings.CELERY_BROKER_URL = url
        monkeypatch.setitem(app.conf, "task_always_eager", False)
        app.__dict__.pop("_publisher", None)

    yield tasks_at
    if publisher := app.__dict__.pop("_publisher", None):
        publisher.stop()  # now, since at the interpreter's exit pytest has closed the streams of the log


@pytest.fixture
def tasks_vhost(rabbitmq: RabbitMQ, tasks_at: Callable[[str], None]) -> str:
    """A vhost for Celery of this test's own; this process publishes its tasks there."""
    vhost = f"celery{time.monotonic_ns()}"
    rabbitmq.ctl("add_vhost", vhost)
    rabbitmq.ctl("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")
    tasks_at(f"{rabbitmq.url}{vhost}")
    return vhost


@pytest.fixture
def box() -> dict[str, list[int]]:
    return {"x": [10, 74], "y": [5, 50], "z": [2, 29]}
