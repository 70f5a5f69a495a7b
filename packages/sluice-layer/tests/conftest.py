"""Tests of the channel layer. Most run against a real RabbitMQ; `-m "not broker"` selects those without."""

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
    """Mark tests that need RabbitMQ. `items` may include tests of other folders."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here) and "broker" in getattr(item, "fixturenames", ()):
            item.add_marker("broker")


@pytest.fixture(scope="session")
def broker() -> Iterator[brokers.Broker]:
    """This run's own RabbitMQ. layer_lab/broker.py explains how to choose another image or address."""
    with brokers.running() as broker:
        yield broker
