"""The layer against a real RabbitMQ. See broker.py for how to say which."""

from __future__ import annotations

from collections.abc import Iterator

import django
import pytest
from django.conf import settings

from layer import broker as brokers

if not settings.configured:
    settings.configure(CHANNEL_LAYERS={}, INSTALLED_APPS=["sluice_layer", "channels"])
    django.setup()


@pytest.fixture(scope="session")
def broker() -> Iterator[brokers.Broker]:
    with brokers.running() as broker:
        yield broker
