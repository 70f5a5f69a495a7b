"""Tests of the channel layer: most on a real RabbitMQ, `-m "not broker"` for those that need none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import django
import pytest
from django.conf import settings

from layer_lab import broker as brokers

if not settings.configured:
    settings.configure(CHANNEL_LAYERS={}, INSTALLED_APPS=["sluice_layer", "channels"])
    django.setup()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs RabbitMQ. `items` may hold tests of other folders too."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and "broker" in getattr(item, "fixturenames", ()):
            item.add_marker("broker")


@pytest.fixture(scope="session")
def broker() -> Iterator[brokers.Broker]:
    """A RabbitMQ of this run's own; layer_lab/broker.py says how to choose another image or address."""
    with brokers.running() as broker:
        yield broker
