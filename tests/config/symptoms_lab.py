"""Stock Daphne and an nginx as people configure them, for the symptoms of docs/reference/symptoms.md; and the
page itself.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from config.nginx_lab import SOURCE, UPGRADE, Answer, exchange, head, read_answer
from harness.servers import free_port
from harness.waiting import wait_until

PAGE = SOURCE / "docs/reference/symptoms.md"
FIELDS = ["Seen", "Cause", "Proof", "Cure", "Test"]

SEED = """
    location /channels/ {
        proxy_pass http://127.0.0.1:$daphne/channels/;
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
        proxy_redirect off;
        proxy_set_header Host $host;
    }
"""
"""What CATMAID's documentation and Channels' show, `$daphne` for the port."""


# --- the page -----------------------------------------------------------------------------------------------


def symptoms() -> dict[str, dict[str, str]]:
    """The page's symptoms by their headings, each with its fields."""
    found = {}
    for section in re.split(r"^### ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        parts = re.split(
            r"^\*\*(\w+):\*\* ", re.split(r"^## ", text, flags=re.MULTILINE)[0], flags=re.MULTILINE
        )
        found[heading.strip()] = dict(zip(parts[1::2], parts[2::2], strict=True))
    return found


def assert_seen(heading: str, text: str) -> None:
    """What the page quotes as seen, in the lines of `Seen` that begin with a number or a log's name, is in
    the text; `…` stands for anything.
    """
    quoted = re.findall(r"`([^`]+)`", symptoms()[heading]["Seen"])
    assert quoted, f"nothing is quoted: {heading}"
    for words in quoted:
        pattern = ".*?".join(re.escape(part.strip()) for part in words.split("…"))
        assert re.search(pattern, text, re.DOTALL), f"{words!r} is not in what was seen: {text[-3000:]!r}"


# --- the servers --------------------------------------------------------------------------------------------


@dataclass
class Daphne:
    """Daphne as it comes, with an application of symptoms_field.py. `files`: how many it may open."""

    folder: Path
    application: str
    options: tuple[str, ...] = ()
    files: int = 0
    port: int = field(default_factory=free_port)

    def __enter__(self) -> Daphne:
        target = self.application if ":" in self.application else f"config.symptoms_field:{self.application}"
        command = [
            sys.executable,
            "-m",
            "daphne",
            "-b",
            "127.0.0.1",
            "-p",
            str(self.port),
            *self.options,
            target,
        ]
        self._output = self.log_file.open("ab")
        self.process = subprocess.Popen(
            command,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(SOURCE / "tests"),
                "PYTHONUNBUFFERED": "yes",
            },
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
        )
        try:
            wait_until(self._listens, 30, "Daphne", fatal=self._ended, every=0.05)
            if self.files:
                resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (self.files, self.files))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self._output.close()

    @property
    def log_file(self) -> Path:
        return self.folder / "daphne.log"

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _ended(self) -> str | None:
        return None if self.process.poll() is None else f"it ended:\n{self.log}"


@dataclass
class PlainNginx:
    """nginx with `locations` in one server, and nothing of ours. `main` stands outside, `events` within
    `events { }`.
    """

    folder: Path
    locations: str
    main: str = ""
    events: str = "worker_connections 256;"
    port: int = field(default_factory=free_port)

    def __enter__(self) -> PlainNginx:
        self.write()
        self.process = subprocess.Popen(
            [*self.command, "-g", "daemon off;"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_until(self._listens, 10, "nginx", fatal=self._ended, every=0.02)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)

    def write(self) -> None:
        temporary = "".join(
            f"{kind}_temp_path {self.folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self.folder / "html").mkdir(exist_ok=True)
        user = "user root;" if os.geteuid() == 0 else ""
        (self.folder / "nginx.conf").write_text(
            f"{user} pid {self.folder}/pid; error_log {self.folder}/error.log info; {self.main}\n"
            f"events {{ {self.events} }}\nhttp {{ access_log off; keepalive_timeout 0; {temporary}\n"
            f"server {{ listen 127.0.0.1:{self.port} backlog=511; root {self.folder}/html;\n"
            f"{self.locations} }} }}\n"
        )

    @property
    def command(self) -> list[str]:
        binary = shutil.which("nginx")
        assert binary, "these tests need nginx itself: run them in the image sluice-tests (make test)"
        return [
            binary,
            "-p",
            str(self.folder),
            "-e",
            str(self.folder / "error.log"),
            "-c",
            str(self.folder / "nginx.conf"),
        ]

    @property
    def log(self) -> str:
        """Its error log."""
        return (self.folder / "error.log").read_text(errors="replace")

    def send(self, target: str, **headers: str) -> Answer:
        return exchange(self.port, head(target, headers=headers), deadline=15)

    def upgrade(self, target: str = "/channels/updates/", **headers: str) -> Answer:
        """A WebSocket handshake; the connection ends with it."""
        return self.send(target, **(UPGRADE | headers))

    @contextlib.contextmanager
    def websocket(self, target: str = "/channels/updates/") -> Iterator[socket.socket]:
        """An open WebSocket."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=15) as wire:
            wire.sendall(head(target, headers=UPGRADE))
            assert read_answer(wire).status == 101
            yield wire

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _ended(self) -> str | None:
        return None if self.process.poll() is None else f"it ended:\n{self.log}"


@contextlib.contextmanager
def seed_site(
    folder: Path, application: str, *options: str, files: int = 0, more: str = ""
) -> Iterator[tuple[PlainNginx, Daphne]]:
    """The seed's location, with `more` in it, before Daphne with that application."""
    with Daphne(folder, application, options, files) as daphne:
        location = SEED.replace("$daphne", str(daphne.port)).replace(
            "proxy_redirect off;", f"proxy_redirect off; {more}"
        )
        with PlainNginx(folder, location) as nginx:
            yield nginx, daphne


def close_code(wire: socket.socket) -> int:
    """As a browser reports the end of the connection: 1006 if no close frame came before it."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := wire.recv(65536):
            data += chunk
    while len(data) >= 2:
        opcode, length = data[0] & 0x0F, data[1] & 0x7F
        assert length < 126, "a frame longer than the symptoms need"
        if opcode == 8:
            return int.from_bytes(data[2:4]) if length else 1005
        data = data[2 + length :]
    return 1006
