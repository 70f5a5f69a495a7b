"""docs/reference/symptoms.md: what Python says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from channels_rabbitmq.core import RabbitmqChannelLayer

from config.symptoms_lab import Daphne, assert_seen, seed_site


def test_the_stock_layer_is_made_where_no_loop_runs() -> None:
    with pytest.raises(RuntimeError) as error:
        RabbitmqChannelLayer()
    assert_seen("Refusing to initialize channel layer", f"{error.type.__name__}: {error.value}")


def test_the_stock_layer_is_called_from_a_second_loop() -> None:
    """As each `async_to_sync` in a thread of Gunicorn's makes one."""

    async def make() -> RabbitmqChannelLayer:
        return RabbitmqChannelLayer()

    async def send(layer: RabbitmqChannelLayer) -> None:
        await layer.group_send("updates", {"type": "news"})

    layer = asyncio.run(make())
    with pytest.raises(RuntimeError) as error:
        asyncio.run(send(layer))
    assert_seen("different event loop", f"{error.type.__name__}: {error.value}")


def test_a_channels_worker_on_the_stock_layer() -> None:
    async def scenario() -> None:
        await RabbitmqChannelLayer().receive("previews")

    with pytest.raises(RuntimeError) as error:
        asyncio.run(scenario())
    assert_seen("does not support Normal Channels", f"{error.type.__name__}: {error.value}")


def test_models_are_imported_before_django_is_set_up(tmp_path: Path) -> None:
    with pytest.raises(BaseException) as error, Daphne(tmp_path, "config.symptoms_early:application"):
        pass
    assert_seen("Apps aren't loaded yet", str(error.value))


def test_a_consumer_asks_the_database_on_the_loop(tmp_path: Path) -> None:
    with seed_site(tmp_path, "asks_the_database") as (nginx, daphne):
        answer = nginx.upgrade()
        assert_seen("You cannot call this from an async context", f"{answer.status} {daphne.log}")
