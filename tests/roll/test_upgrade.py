"""A new version of the application: `make roll` and `docker compose up` both deploy it, and neither touches
the containers that hold data.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from harness.engine import engine, run_id
from harness.rolling import roll
from harness.stack import Stack
from roll.watching import containers, replaced

BUILT = ("wsgi", "asgi", "worker", "nginx", "rabbitmq", "postgres")
APPLICATION = {"wsgi": "wsgi", "asgi": "asgi", "worker": "worker", "celery": "worker", "beat": "worker"}


@dataclass
class Versions:
    """The images under test with a tag of our own, which moves to each new version of the application."""

    tag: str
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def release(self) -> None:
        """Create new images under the same names, as `docker compose build` does after a change of app/."""
        number = next(self.numbers)
        for name in set(APPLICATION.values()):
            image = f"sluice-{name}:{self.tag}"
            recipe = io.BytesIO(f"FROM {image}\nLABEL sluice.release={number}\n".encode())
            engine().images.build(fileobj=recipe, tag=image, rm=True)

    def current(self, name: str) -> str:
        return str(engine().images.get(f"sluice-{name}:{self.tag}").id)


@pytest.fixture
def versions(image_tag: str) -> Iterator[Versions]:
    versions = Versions(f"e2e-{run_id()}-release")
    for name in BUILT:
        assert engine().images.get(f"sluice-{name}:{image_tag}").tag(f"sluice-{name}", versions.tag)
    yield versions
    for name in BUILT:
        engine().images.remove(f"sluice-{name}:{versions.tag}", force=True)


@pytest.mark.timeout(600, func_only=True)
def test_a_new_version_leaves_the_data_running(versions: Versions) -> None:
    with Stack(versions.tag) as stack:
        before = containers(stack)
        versions.release()
        roll(stack)
        assert replaced(before, containers(stack)) == {*APPLICATION, "nginx"}
        assert_runs(stack, versions)
        before = containers(stack)
        versions.release()
        stack.up()
        assert replaced(before, containers(stack)) == set(APPLICATION)
        assert_runs(stack, versions)


def assert_runs(stack: Stack, versions: Versions) -> None:
    """Assert that each service of the application runs the latest released version."""
    for service, image in APPLICATION.items():
        assert stack.service(service)[0].inspect()["Image"] == versions.current(image), service
