"""One host for all tests of the doctor, behind one nginx as shipped."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.doctor.house import House

from harness.servers import RabbitMQ


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitMQ) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("house"), rabbitmq)
    try:
        house.build()
        for program in ("gunicorn", "daphne", "celery"):
            house.start(program)
        yield house
    finally:
        house.close()


@pytest.fixture(scope="session")
def front(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """nginx's address, with everything as shipped."""
    with house.front(tmp_path_factory.mktemp("nginx")) as address:
        yield address


@pytest.fixture
def alone() -> Iterator[None]:
    """A lock against other pytest processes that examine or change the whole machine."""
    with (Path(tempfile.gettempdir()) / "sluice-doctor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
