"""Consumers of named channels inside a development server: `runworker` can't reach a layer in memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from django.conf import settings

from ..asgi_types import Application

logger = logging.getLogger(__name__)


class InnerWorkers:
    """Serves named channels in the running event loop, with DEBUG and a default channel layer in memory."""

    def __init__(self, application: Application, channels: Sequence[str]) -> None:
        self._application = application
        self._channels = channels
        self._tasks: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()

    def start(self) -> None:
        """Start them, once in each event loop. They end with the loop."""
        loop = asyncio.get_running_loop()
        if loop in self._tasks:
            return
        from channels.layers import InMemoryChannelLayer, get_channel_layer
        from channels.worker import Worker

        layer = get_channel_layer()
        self._tasks[loop] = None
        if settings.DEBUG and isinstance(layer, InMemoryChannelLayer):
            logger.info("the channel layer is in memory: %s handled here", " and ".join(self._channels))
            worker = Worker(self._application, list(self._channels), layer)
            self._tasks[loop] = loop.create_task(worker.arun())
