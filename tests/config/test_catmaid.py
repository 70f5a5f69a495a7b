"""docs/how-to/catmaid.md: the lines that it gives, in the real programs. A small project stands in for
CATMAID.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from bare_metal.guide import Guide
from celery import Celery

from config.nginx_lab import UPGRADE, Probe, exchange, head
from harness.compose import SOURCE
from harness.servers import RabbitMQ, free_port
from harness.waiting import TimedOut, wait_until
from sluice_layer import RabbitmqChannelLayer

PAGE = Guide.read("catmaid.md")
LAB = Path(__file__).parent / "catmaid_lab"
FIRST = "First: the channel layer"

# --- pushes from Celery -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broker() -> Iterator[RabbitMQ]:
    broker = RabbitMQ().start()
    try:
        for vhost in ("catmaid", "asgi"):
            broker.ctl("add_vhost", vhost)
            broker.ctl("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")
        yield broker
    finally:
        broker.close()


class Daphne(threading.Thread):
    """Plays CATMAID's consumer: a member of the user's group, which collects the events it receives."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.received: list[int] = []
        self._loop = asyncio.new_event_loop()

    def run(self) -> None:
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._receive())

    async def _receive(self) -> None:
        self._task = asyncio.current_task()
        layer = RabbitmqChannelLayer(host=self.url)
        channel = await layer.new_channel()
        await layer.group_add("updates-7", channel)
        try:
            while True:
                message = await layer.receive(channel)
                self.received.append(json.loads(message["data"])["payload"]["message_id"])
        finally:
            await layer.close()

    def close(self) -> None:
        task = self._task
        assert task is not None
        self._loop.call_soon_threadsafe(task.cancel)
        self.join(20)
        self._loop.close()


class Push:
    """A site with its parts: RabbitMQ, the layer's vhost, and a Celery worker in the vhost `catmaid`."""

    def __init__(self, stack: ExitStack, broker: RabbitMQ, folder: Path, vhost: str, lines: str) -> None:
        self.broker = broker
        self.vhost = vhost
        (folder / "settings.py").write_text(f"from base_settings import *  # noqa: F403\n\n{lines}")
        self.log = folder / "celery.log"
        self.celery_url = f"{broker.url}catmaid"
        environ = os.environ | {
            "LAYER_URL": f"{broker.url}{vhost}",
            "CELERY_URL": self.celery_url,
            "DJANGO_SETTINGS_MODULE": "settings",
            "PYTHONPATH": os.pathsep.join([str(folder), str(LAB), str(SOURCE / "packages/sluice-layer/src")]),
        }
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "--app", "celery_app", "worker", "--loglevel", "INFO"],
            env=environ,
            cwd=folder,
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        stack.callback(os.killpg, worker.pid, signal.SIGKILL)
        self.daphne = Daphne(f"{broker.url}{vhost}")
        self.daphne.start()
        stack.callback(self.daphne.close)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until the consumer is bound, and the worker consumes."""
        wait_until(
            lambda: (
                "updates-7" in self.broker.ctl("list_bindings", "--vhost", self.vhost, "routing_key")
                and "celery\t1" in self.broker.ctl("list_queues", "--vhost", "catmaid", "name", "consumers")
            ),
            60,
            "the layer and Celery",
            every=0.5,
        )

    def crop(self, number: int) -> bool:
        """Run a task that ends with a push. Returns whether the push arrived within five seconds."""
        with Celery(broker=self.celery_url) as sender:
            sender.send_task("crop", [number])
        wait_until(lambda: f"crop {number} is done" in self.log.read_text(), 30, "the task")
        try:
            return wait_until(lambda: number in self.daphne.received, 5, "the push")
        except TimedOut:
            return False

    def restart_broker(self) -> None:
        self.broker.stop()
        self.broker.start()
        self.wait_ready()


@contextmanager
def site(broker: RabbitMQ, folder: Path, *, vhost: str, lines: str) -> Iterator[Push]:
    with ExitStack() as stack:
        yield Push(stack, broker, folder, vhost, lines)


def test_over_celerys_connection_the_first_push_after_a_restart_is_lost(
    broker: RabbitMQ, tmp_path: Path
) -> None:
    with site(broker, tmp_path, vhost="catmaid", lines="") as push:
        assert push.crop(1)
        push.restart_broker()
        assert [push.crop(2), push.crop(3)] == [False, True]


@pytest.mark.parametrize("vhost", ["catmaid", "asgi"])
def test_with_the_pages_lines_none_is_lost_in_one_vhost_or_two(
    broker: RabbitMQ, tmp_path: Path, vhost: str
) -> None:
    with site(broker, tmp_path, vhost=vhost, lines=PAGE.snippet(FIRST, "py")) as push:
        assert push.crop(1)
        push.restart_broker()
        assert [push.crop(2), push.crop(3)] == [True, True]


def test_over_celerys_connection_every_push_is_lost_with_two_vhosts(broker: RabbitMQ, tmp_path: Path) -> None:
    with site(broker, tmp_path, vhost="asgi", lines="") as push:
        assert [push.crop(1), push.crop(2)] == [False, False]


# --- the program for supervisor -----------------------------------------------------------------------------

ASGI = """
import asyncio, os

async def application(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""
MAIN = """
[supervisord]
nodaemon = true
logfile = {folder}/supervisord.log
pidfile = {folder}/pid
[unix_http_server]
file = {folder}/control
[supervisorctl]
serverurl = unix://{folder}/control
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""


def test_supervisor_runs_two_daphnes_on_one_socket_and_one_serves_while_the_other_restarts(
    tmp_path: Path,
) -> None:
    port = free_port()
    section = PAGE.snippet("Daphne and supervisor", "ini")
    for there, here in {
        "/opt/catmaid/django/env/bin/daphne": f"{sys.executable} -m daphne",
        "user = www-data\n": "",
        "127.0.0.1:8001": f"127.0.0.1:{port}",
        "/opt/catmaid/django/projects/mysite/daphne.log": f"{tmp_path}/daphne.log",
        "/opt/catmaid/django/projects": str(tmp_path),
    }.items():
        assert there in section
        section = section.replace(there, here)
    (tmp_path / "mysite").mkdir()
    (tmp_path / "mysite/asgi.py").write_text(ASGI)
    main_file = tmp_path / "supervisord.conf"
    main_file.write_text(MAIN.format(folder=tmp_path) + section)

    def control(*command: str) -> str:
        done = subprocess.run(
            ["/usr/bin/supervisorctl", "--configuration", main_file, *command],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout

    supervisord = subprocess.Popen(
        ["/usr/bin/supervisord", "--configuration", main_file], stdout=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: control("status").count("RUNNING") == 2, 30, "two Daphnes")
        before = control("status")
        assert "catmaid-daphne:catmaid-daphne_00" in before
        with Visitor(port) as visitor:
            wait_until(lambda: len(visitor.pids) == 2, 20, "an answer of each")
            for name in ("catmaid-daphne_00", "catmaid-daphne_01"):
                control("restart", f"catmaid-daphne:{name}")
            wait_until(lambda: control("status").count("RUNNING") == 2, 30, "two Daphnes")
            wait_until(lambda: len(visitor.pids) == 4, 20, "an answer of each new one")
        assert visitor.failures == []
    finally:
        supervisord.terminate()
        supervisord.wait(30)


class Visitor(threading.Thread):
    """Sends a request every few milliseconds."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.url = f"http://127.0.0.1:{port}/"
        self.pids: set[str] = set()
        self.failures: list[Exception] = []
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.005):
            try:
                with urllib.request.urlopen(self.url, timeout=10) as response:
                    self.pids.add(response.read().decode())
            except OSError as error:
                self.failures.append(error)

    def __enter__(self) -> Visitor:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


# --- the place file -----------------------------------------------------------------------------------------


def test_the_place_file_leads_catmaids_path_to_daphne_and_only_with_tls(tmp_path: Path) -> None:
    etc, plain, secured = tmp_path / "nginx", free_port(), free_port()
    etc.mkdir()
    (etc / "conf.d").mkdir()
    commands = PAGE.snippet("Nginx", "sh").replace("/etc/nginx", str(etc))
    done = subprocess.run(
        ["bash", "-euc", commands], cwd=SOURCE, capture_output=True, text=True, check=True
    ).stdout
    assert "default 127.0.0.1:8001;" in done
    (line,) = PAGE.snippet("Nginx", "nginx").splitlines()
    include = line.partition(";")[0] + ";"
    place = etc / "conf.d/sluice-place.conf"
    with Probe("asgi") as asgi:
        place.write_text(place.read_text().replace("127.0.0.1:8001", asgi.address))
        (etc / "nginx.conf").write_text(
            f"daemon off; pid {tmp_path}/pid; error_log stderr; events {{ }} http {{ access_log off;\n"
            + "".join(
                f"{kind}_temp_path {tmp_path}/{kind};"
                for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            )
            + "include conf.d/*.conf;\n"
            f"server {{ listen 127.0.0.1:{plain}; {include} location / {{ return 200 own; }} }}\n"
            f"server {{ listen 127.0.0.1:{secured}; {include.replace('-https-only', '')}"
            " location / { return 200 own; } }\n}"
        )
        nginx = subprocess.Popen(["nginx", "-e", "stderr", "-c", str(etc / "nginx.conf")])
        try:
            host = {"Host": "neuro.example.org"}
            socket = head("/catmaid/channels/updates/", headers=UPGRADE | host)
            wait_until(lambda: _answers(secured), 10, "nginx")
            assert exchange(secured, socket).status == 101
            assert asgi.heads[-1].startswith(b"GET /channels/updates/ ")
            redirected = exchange(plain, socket)
            assert (redirected.status, redirected.one("Location")) == (
                308,
                "https://neuro.example.org/catmaid/channels/updates/",
            )
            assert exchange(secured, head("/catmaid/channels/updates/", headers=host)).status == 426
            for path in ("/channels/updates/", "/catmaid/"):
                assert exchange(secured, head(path, headers=UPGRADE | host)).text == "own"
        finally:
            nginx.terminate()
            nginx.wait(10)


def _answers(port: int) -> bool:
    with suppress(ConnectionRefusedError):
        return exchange(port, head("/")).status == 200
    return False
