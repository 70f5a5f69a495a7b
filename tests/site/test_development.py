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

import pytest
import requests

import mysite
from harness.client.http import Place
from harness.client.websocket import WebSocket
from harness.servers import free_port
from harness.site import Browser
from harness.waiting import wait_until

APP = Path(mysite.__file__).parent.parent
PASSWORD = "secret of the admin"
# The limit for a push: the database is polled every second.
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
    took = asyncio.run(pushed_after(site))
    assert took <= PUSH_SECONDS


async def pushed_after(site: Browser) -> float:
    """Seconds between the POST of a message and the arrival of its update."""
    socket = await WebSocket.connect(Place.of(site.url), "/channels/updates/", cookies=site.cookies)
    async with asyncio.timeout(10):
        assert json.loads(await socket.receive())["event"] == "hello"
        began = time.monotonic()
        message = await asyncio.to_thread(site.send_message, "admin", "Pushed")
        while (frame := json.loads(await socket.receive()))["event"] != "new-message":
            assert frame["event"] == "ping", frame
        assert frame["payload"]["message_id"] == message
    return time.monotonic() - began
