"""One host for all tests of the doctor, and one nginx as shipped before it."""

from __future__ import annotations

from collections.abc import Iterator

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
    """Where nginx listens, everything as shipped."""
    with house.front(tmp_path_factory.mktemp("nginx")) as address:
        yield address
