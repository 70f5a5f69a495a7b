"""`runserver` serves updates, pages and the project's own Channels consumers (docs/how-to/runserver.md)."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from django.core.management import call_command
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from harness.waiting import wait_until
from updates_lab.site import SOON, SUBPROTOCOL, environment

pytestmark = pytest.mark.servers

SETTINGS = """
INSTALLED_APPS = ["daphne", *INSTALLED_APPS]
"""
ASGI = """
import os

import django
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site1.settings")
django.setup()

from site1.consumers import Chat  # noqa: E402
from sluice_updates.asgi import application as updates  # noqa: E402

application = updates(
    websocket_urlpatterns=[path("channels/chat/", Chat.as_asgi())],
    otherwise=get_asgi_application(),
)
"""
CONSUMERS = """
from channels.generic.websocket import AsyncJsonWebsocketConsumer


class Chat(AsyncJsonWebsocketConsumer):
    async def connect(self):
        await self.channel_layer.group_add("chat", self.channel_name)
        await self.accept()

    async def receive_json(self, content):
        await self.channel_layer.group_send(
            "chat", {"type": "said", "who": self.scope["user"].username, "text": content["text"]}
        )

    async def said(self, event):
        await self.send_json(event)
"""
PREPARE = """
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import call_command

call_command("migrate", verbosity=0)
user = User.objects.create_user("alice")
session = SessionStore()
session[SESSION_KEY] = str(user.pk)
session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
session[HASH_SESSION_KEY] = user.get_session_auth_hash()
session.save()
print(session.session_key)
"""


class Running:
    """A project of `startproject`, and its `runserver`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        call_command("startproject", "site1", str(folder))
        self.run("-m", "sluice_updates.management.commands.sluice_init", "--yes")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.origin = f"http://127.0.0.1:{free.getsockname()[1]}"

    def append(self, name: str, text: str) -> None:
        with (self.folder / "site1" / name).open("a") as file:
            file.write(text)

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout

    def shell(self, code: str) -> str:
        return self.run("manage.py", "shell", "--verbosity", "0", "-c", code)

    @property
    def environment(self) -> dict[str, str]:
        return {name: value for name, value in environment().items() if name != "DJANGO_SETTINGS_MODULE"}

    @contextmanager
    def served(self, *options: str) -> Iterator[None]:
        """Run the server, and sign alice in."""
        self.cookie = f"sessionid={self.shell(PREPARE).split()[-1]}"
        log = self.folder / "runserver.log"
        port = self.origin.rpartition(":")[2]
        with log.open("w") as output:
            server = subprocess.Popen(
                [sys.executable, "manage.py", "runserver", *options, port],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            wait_until(
                self._is_healthy, 30, "runserver", fatal=lambda: log.read_text() if server.poll() else None
            )
            yield
        finally:
            os.killpg(server.pid, signal.SIGINT)
            server.wait(15)
        assert "Starting ASGI/Daphne" in log.read_text()

    def _is_healthy(self) -> bool:
        try:
            return bool(json.loads(self.get("/channels/healthz"))["status"] == "ok")
        except (OSError, ValueError):
            return False

    def get(self, path: str) -> str:
        request = urllib.request.Request(self.origin + path, headers={"Cookie": self.cookie})
        with urllib.request.urlopen(request, timeout=SOON) as response:
            return str(response.read().decode())

    def connect(self, path: str, *protocols: str) -> ClientConnection:
        return connect(
            self.origin.replace("http", "ws") + path,
            origin=Origin(self.origin),
            subprotocols=[Subprotocol(name) for name in protocols] or None,
            additional_headers={"Cookie": self.cookie},
        )


@pytest.fixture
def project(tmp_path: Path) -> Running:
    return Running(tmp_path)


def _assert_pushes(project: Running) -> None:
    """An update arrives, and Django's pages, the polling view and static files are there."""
    with project.connect("/channels/updates/?streams=all", SUBPROTOCOL) as page:
        assert json.loads(page.recv(SOON))["event"] == "hello"
        project.shell("import sluice_updates; sluice_updates.publish('all', 'news', {'text': 'hello'})")
        assert json.loads(page.recv(SOON))["payload"] == {"text": "hello"}
    assert "Log in" in project.get("/admin/login/")
    assert '"streams"' in project.get("/updates/")
    assert "export" in project.get("/static/sluice_updates/page.js")


def test_two_settings_are_enough(project: Running) -> None:
    project.append("settings.py", SETTINGS)
    project.append("settings.py", 'ASGI_APPLICATION = "sluice_updates.asgi.default.application"\n')
    with project.served("--noreload"):
        _assert_pushes(project)


def test_consumers_of_the_projects_own_run_beside_updates(project: Running) -> None:
    """And the reloader restarts the server when a file changes."""
    project.append("settings.py", SETTINGS)
    project.append("settings.py", 'ASGI_APPLICATION = "site1.asgi.application"\n')
    layer = "channels.layers.InMemoryChannelLayer"
    project.append("settings.py", f'CHANNEL_LAYERS = {{"default": {{"BACKEND": "{layer}"}}}}\n')
    (project.folder / "site1/asgi.py").write_text(ASGI)
    project.append("consumers.py", CONSUMERS)
    with project.served():
        _assert_pushes(project)
        _chat(project)
        log = project.folder / "runserver.log"

        def has_restarted() -> bool:
            # The reloader does not see a change of a module that it has not looked at since its import.
            project.append("consumers.py", "# changed\n")
            return len(re.findall("Starting ASGI", log.read_text())) == 2

        wait_until(has_restarted, 30, "the restart", every=4)
        wait_until(project._is_healthy, 30, "the restarted server")
        _chat(project)


def _chat(project: Running) -> None:
    with ExitStack() as stack:
        one, other = (stack.enter_context(project.connect("/channels/chat/")) for _ in range(2))
        one.send('{"text": "hi"}')
        heard = [json.loads(each.recv(SOON)) for each in (one, other)]
    assert heard == [{"type": "said", "who": "alice", "text": "hi"}] * 2
