"""A project's own test runs, by `manage.py test` and by pytest-django, with a live broker in its settings.

Nothing is sent, and nothing of the package is connected to the test database when its end drops it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from harness.servers import Postgres, RabbitMQ
from updates_lab.layer import Layer
from updates_lab.site import TESTS, environment

GUIDE = TESTS.parents[2] / "docs/how-to/test-push.md"
MANAGE = ("testedsite/manage.py", "test", "--noinput")
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider")
TESTED = ("testedsite/for_pytest.py", "testedsite/tests.py")
RUNS = {
    "manage.py test": (*MANAGE, "testedsite"),
    "manage.py test --parallel": (*MANAGE, "--parallel", "2", "testedsite"),
    "pytest": (*PYTEST, *TESTED),
    "pytest -n": (*PYTEST, "-n", "2", *TESTED),
}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database whose server has no test database, before and afterwards."""
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/site.sqlite3"
        return
    server: Postgres = request.getfixturevalue("postgresql")
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS tested")
        connection.execute("CREATE DATABASE tested")
        yield urlsplit(server.url)._replace(path="/tested").geturl()
        left = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'test\\_%'").fetchall()
        assert left == []


@pytest.fixture
def layer(rabbitmq: RabbitMQ) -> Iterator[Layer]:
    """A hub that listens during the run."""
    layer = Layer(rabbitmq.url)
    yield layer
    layer.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The folder of the project, apart from this package's own conftest.py and configuration.

    In its environment the package is installed, as far as pytest sees it: by its entry points.
    """
    shutil.copytree(TESTS / "testedsite", tmp_path / "testedsite")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    declared = tomllib.loads((TESTS.parent / "pyproject.toml").read_text())["project"]["entry-points"][
        "pytest11"
    ]
    (installed := tmp_path / "sluice_updates-0.dist-info").mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: sluice-updates\nVersion: 0\n")
    lines = [f"{name} = {module}" for name, module in declared.items()]
    (installed / "entry_points.txt").write_text("\n".join(["[pytest11]", *lines, ""]))
    return tmp_path


def run(
    command: tuple[str, ...], project: Path, database_url: str, broker: RabbitMQ | None, **more: str
) -> str:
    """Run the tests. Returns what they printed."""
    url = broker.url if broker else ""
    env = environment(DATABASE_URL=database_url, HUBSITE_PUBLISHER_URL=url, **more)
    env["PYTHONPATH"] = os.pathsep.join([str(project), env["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, *command],
        env={**env, "DJANGO_SETTINGS_MODULE": "testedsite.settings"},
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("name", RUNS)
def test_a_run_sends_nothing_and_ends_well(
    project: Path, database_url: str, rabbitmq: RabbitMQ, layer: Layer, name: str
) -> None:
    run(RUNS[name], project, database_url, rabbitmq)
    assert layer.next() is None


@pytest.mark.parametrize("name", ["manage.py test", "pytest"])
def test_a_run_that_asks_for_wake_ups_sends_them_and_ends_well(
    project: Path, database_url: str, rabbitmq: RabbitMQ, layer: Layer, name: str
) -> None:
    run(RUNS[name], project, database_url, rabbitmq, TESTEDSITE_WAKE_UPS="yes")
    assert layer.wait()["database"]


@pytest.mark.parametrize("name", ["manage.py test", "pytest"])
def test_a_run_that_asks_for_notifications_ends_well(project: Path, database_url: str, name: str) -> None:
    more = {"TESTEDSITE_WAKE_UPS": "yes", "HUBSITE_NOTIFY": "yes" if "postgresql" in database_url else ""}
    run(RUNS[name], project, database_url, None, **more)


def test_the_examples_of_the_guide(project: Path, database_url: str, rabbitmq: RabbitMQ) -> None:
    unittest, *for_pytest = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    (folder := project / "examples").mkdir()
    (folder / "__init__.py").touch()
    (folder / "tests.py").write_text(unittest)
    (folder / "test_push.py").write_text("\n".join(for_pytest))
    printed = run((*MANAGE, "examples.tests"), project, database_url, rabbitmq)
    assert re.search(r"^Ran [3-9] tests", printed, re.M)
    printed = run((*PYTEST, "examples/test_push.py"), project, database_url, rabbitmq)
    assert re.search(r"^[3-9] passed", printed, re.M)
