"""docs/reference/symptoms.md: WebSockets open, and end too early."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from config.nginx_lab import UPGRADE, Nginx, head, read_answer
from config.symptoms_lab import (
    SEED,
    Daphne,
    PlainNginx,
    close_code,
    nginx_command,
    seed_site,
    websocket,
)
from harness.symptoms import OWN_DAPHNES, assert_proved, assert_refuted, assert_seen
from harness.waiting import wait_until


@dataclass
class Impatient(Nginx):
    """Our nginx with a timeout of these seconds, instead of our 90 or nginx's default of 60."""

    seconds: int = 1

    def lay_out(self) -> None:
        super().lay_out()
        snippet = self.folder / "etc/snippets/sluice/channels.conf"
        text = snippet.read_text()
        assert "proxy_read_timeout 90s;" in text
        snippet.write_text(text.replace("proxy_read_timeout 90s;", f"proxy_read_timeout {self.seconds}s;"))

    @property
    def duration(self) -> dict[str, str]:
        """The replacements for that timeout in the page's command."""
        log = {"/var/log/nginx/sluice.access.log": str(self.folder / "log")}
        return log | {"time=60": f"time={self.seconds}"}


@contextlib.contextmanager
def impatient_site(folder: Path, seconds: int, *options: str) -> Iterator[Impatient]:
    """An Impatient nginx in front of a Daphne with these options."""
    with Daphne(folder, "good", options) as daphne:
        settings = {"ASGI_ADDRESS": f"127.0.0.1:{daphne.port}", "LOG_LEVEL": "debug"}
        with Impatient(folder, settings, seconds=seconds) as nginx:
            yield nginx


def test_a_proxy_gives_an_idle_socket_up(tmp_path: Path) -> None:
    """Daphne's ping comes later."""
    with impatient_site(tmp_path, 1, "--ping-interval", "60") as nginx:
        began = time.monotonic()
        with websocket(nginx) as wire:
            code = close_code(wire)
        assert 0.9 < time.monotonic() - began < 10
        assert_seen("Cut every 60 s", f"{code} {nginx.log}")
        assert_proved("Cut every 60 s", nginx.duration)


def test_pings_keep_it_open(tmp_path: Path) -> None:
    """Daphne sends them. It checks every two seconds whether one is due."""
    with impatient_site(tmp_path, 3, "--ping-interval", "1") as nginx:
        with websocket(nginx) as wire:
            began, data = time.monotonic(), b""
            while time.monotonic() - began < 4.5:
                chunk = wire.recv(100)
                assert chunk, f"the connection ended: {data!r}"
                data += chunk
            assert b"\x89" in data
        assert_refuted("Cut every 60 s", nginx.duration)


def test_daphne_is_restarted(tmp_path: Path) -> None:
    with seed_site(tmp_path, "good") as (nginx, daphne), nginx.websocket() as wire:
        assert_proved("1006 at each restart", OWN_DAPHNES)
        daphne.signal(signal.SIGTERM)
        assert_seen("1006 at each restart", str(close_code(wire)))


def test_a_consumer_does_not_end(tmp_path: Path) -> None:
    """One of two consumers does not end."""
    heading = "took too long to shut down and was killed"
    with seed_site(tmp_path, "one_stays", "--application-close-timeout", "1") as (nginx, daphne):
        places = {"/var/log/sluice/daphne.log": str(daphne.log_file)}
        with nginx.websocket("/channels/ends/"):
            pass
        wait_until(lambda: "WSDISCONNECT /channels/ends/" in daphne.log, 10, "its end")
        with nginx.websocket():
            pass
        assert_refuted(heading, places)
        wait_until(lambda: "was killed" in daphne.log, 10, "the warning")
        assert_seen(heading, daphne.log)
        assert_proved(heading, places)
        assert "/channels/ends/" not in daphne.log.partition("took too long")[2]


def test_nginx_has_too_few_connections(tmp_path: Path) -> None:
    heading = "worker_connections are not enough"
    with Daphne(tmp_path, "good") as daphne:
        location = SEED.replace("$daphne", str(daphne.port))
        with PlainNginx(tmp_path, location, events="worker_connections 10;") as nginx, _many(nginx.port, 12):
            wait_until(lambda: "not enough" in nginx.log, 10, "the alert", every=0.05)
            assert_seen(heading, nginx.log)
            assert_proved(heading, nginx_command(nginx) | {" 768;": " 10;"})
        with PlainNginx(tmp_path, location, events=f"worker_connections {2 * 12 + 512};") as nginx:
            assert_refuted(heading, nginx_command(nginx) | {" 768;": " 10;", "10512": "536"})
            with _many(nginx.port, 12) as wires:
                assert {read_answer(wire).status for wire in wires} == {101}


def test_nginx_has_too_few_file_handles(tmp_path: Path) -> None:
    heading = "24: Too many open files"
    with Daphne(tmp_path, "good") as daphne:
        location = SEED.replace("$daphne", str(daphne.port))
        with PlainNginx(tmp_path, location, main="worker_rlimit_nofile 16;") as nginx, _many(nginx.port, 20):
            wait_until(lambda: "open files" in nginx.log, 10, "the alert", every=0.05)
            assert_seen(heading, nginx.log)
            own = {"pgrep": f"pgrep --parent {nginx.process.pid}"}
            assert_proved(heading, own | {"1024": "16", "1023": "15"})
        fix = f"worker_rlimit_nofile {2 * 20 + 100};"
        with PlainNginx(tmp_path, location, main=fix) as nginx, _many(nginx.port, 20) as wires:
            assert {read_answer(wire).status for wire in wires} == {101}
            own = {"pgrep": f"pgrep --parent {nginx.process.pid}"}
            assert_refuted(heading, own | {"1024": "140", "1023": "139", "10100": "140"})


@contextlib.contextmanager
def _many(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Open this many connections that request a WebSocket, and ignore the responses."""
    with contextlib.ExitStack() as held:
        wires = [
            held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            for _ in range(count)
        ]
        for wire in wires:
            wire.sendall(head("/channels/updates/", headers=UPGRADE))
        yield wires
