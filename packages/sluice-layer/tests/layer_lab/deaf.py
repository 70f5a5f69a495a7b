"""A layer with a fault that no broker can provoke: from one moment on it hands out nothing more."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sluice_layer import RabbitmqChannelLayer


class Deaf(RabbitmqChannelLayer):
    """Deaf as soon as there is a file `deaf` in the worker's folder."""

    async def receive_unacknowledged(self, channel: str) -> tuple[dict[str, Any], Callable[[], None]]:
        received = await super().receive_unacknowledged(channel)
        if (Path(os.environ["WORKER_FOLDER"]) / "deaf").exists():
            await asyncio.Event().wait()
        return received
