"""A Django project for test_worker.py, with settings and application in one module. It logs what it does."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from channels.consumer import AsyncConsumer, SyncConsumer

SECRET_KEY = "for tests"
USE_TZ = True
INSTALLED_APPS = json.loads(os.environ["WORKER_APPS"])
CHANNEL_LAYERS = {
    "default": {"BACKEND": os.environ["WORKER_LAYER"], "CONFIG": {"host": os.environ["WORKER_HOST"]}}
}
ASGI_APPLICATION = "layer_lab.worker_project.application"
SLUICE_LAYER_WORKER_ALIVE_FILE = os.environ["WORKER_ALIVE"]

FOLDER = Path(os.environ["WORKER_FOLDER"])


def note(what: str) -> None:
    with (FOLDER / "notes").open("a") as notes:
        notes.write(f"{what}\n")


class Consumer(AsyncConsumer):
    async def work(self, event: dict[str, Any]) -> None:
        note(f"begin {event['number']}")
        while not (FOLDER / "go").exists():
            await asyncio.sleep(0.02)
        note(f"end {event['number']}")

    async def fail(self, event: dict[str, Any]) -> None:
        note("fail")
        raise RuntimeError("as handlers do")


class Synchronous(SyncConsumer):
    def work(self, event: dict[str, Any]) -> None:
        note(f"begin {event['number']}")
        while not (FOLDER / "go").exists():
            os.sched_yield()
        note(f"end {event['number']}")


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    kind = Synchronous if scope["channel"].startswith("sync") else Consumer
    await kind()(scope, receive, send)
