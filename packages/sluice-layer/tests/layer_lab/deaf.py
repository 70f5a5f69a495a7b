"""A layer with a fault that no broker can cause: from some moment on it delivers nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sluice_layer import RabbitmqChannelLayer


class Deaf(RabbitmqChannelLayer):
    """Stops delivering as soon as the worker's folder contains a file `deaf`."""

    async def receive_unacknowledged(self, channel: str) -> tuple[dict[str, Any], Callable[[], None]]:
        received = await super().receive_unacknowledged(channel)
        if (Path(os.environ["WORKER_FOLDER"]) / "deaf").exists():
            await asyncio.Event().wait()
        return received
