"""`manage.py runserver` with DEBUG=yes, as in `make dev`: SQLite and the in-memory layer only, and push
works.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import requests
import tifffile

import mysite
from harness.client.http import Place
from harness.client.websocket import WebSocket
from harness.servers import free_port
from harness.site import Browser
from harness.waiting import wait_until

APP = Path(mysite.__file__).parent.parent
PASSWORD = "secret of the admin"
# The limits for a push: the hub watches the database's file, and would else poll it every second. The first
# is for half of the pushes; on an idle machine it is 0.05.
HALF_SECONDS = 0.15
PUSH_SECONDS = 2.0


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Browser]:
    """A site with an administrator, served by `runserver`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "DEBUG": "yes",
        "SITE_URL": url,
        "DATABASE_URL": f"sqlite:///{tmp_path}/site.sqlite3",
        "SECRET_KEY_FILE": "",
        "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
    }
    environment |= {
        name: str(tmp_path / name.lower()) for name in ("MEDIA_ROOT", "VOLUMES_ROOT", "STATIC_ROOT")
    }
    manage = [sys.executable, "manage.py"]
    for command in (["migrate", "-v0"], ["createsuperuser", "--noinput", "--username=admin", "--email="]):
        subprocess.run([*manage, *command], cwd=APP, env=environment, check=True)
    tifffile.imwrite(tmp_path / "small.tif", numpy.zeros((8, 16, 16), "uint16"), photometric="minisblack")
    importing = [*manage, "import_volume", str(tmp_path / "small.tif")]
    subprocess.run(importing, cwd=APP, env=environment, check=True)
    log = tmp_path / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*manage, "runserver", "--noreload", f"127.0.0.1:{port}"],
            cwd=APP,
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        wait_until(
            lambda: answers(url),
            15,
            "runserver's first answer",
            fatal=lambda: None if server.poll() is None else log.read_text(),
        )
        yield Browser(url)
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        server.terminate()
        server.wait(10)


def answers(url: str) -> bool:
    try:
        return Browser(url).get("/channels/healthz").ok
    except requests.ConnectionError:
        return False


def test_push_works_without_a_broker(site: Browser) -> None:
    site.sign_in("admin", PASSWORD)
    home = site.http.get(f"{site.url}/")
    assert home.ok and "admin" in home.text
    assert site.get("/static/admin/css/base.css").ok
    took = sorted(asyncio.run(pushed_after(site)))
    assert took[len(took) // 2] <= HALF_SECONDS and took[-1] <= PUSH_SECONDS, took


async def pushed_after(site: Browser) -> list[float]:
    """Seconds between the response to a POST of a message and the arrival of its update, for some."""
    socket = await WebSocket.connect(Place.of(site.url), "/channels/updates/", cookies=site.cookies)
    found = []
    async with asyncio.timeout(30):
        assert json.loads(await socket.receive())["event"] == "hello"
        for _ in range(11):
            message = await asyncio.to_thread(site.send_message, "admin", "Pushed")
            began = time.monotonic()
            while (frame := json.loads(await socket.receive()))["event"] != "new-message":
                assert frame["event"] == "ping", frame
            assert frame["payload"]["message_id"] == message
            found.append(time.monotonic() - began)
    return found


def test_previews_work_without_a_broker(site: Browser) -> None:
    site.sign_in("admin", PASSWORD)
    frame = asyncio.run(preview_of(site, 1))
    assert frame["event"] == "preview", frame
    assert frame["payload"]["png"]


async def preview_of(site: Browser, volume: int) -> dict[str, Any]:
    """The response to a request for a preview."""
    path = f"/channels/volumes/{volume}/preview/"
    socket = await WebSocket.connect(Place.of(site.url), path, cookies=site.cookies, subprotocols="")
    async with asyncio.timeout(10):
        box = {"x": [0, 16], "y": [0, 16], "z": [0, 8]}
        await socket.send(json.dumps({"request": 1, "box": box}))
        frame: dict[str, Any] = json.loads(await socket.receive())
    return frame
