"""nginx as shipped: nginx/ and its image's entry point, with the test's own paths and ports.

Its backends are probes: servers that record every byte from nginx and report it in their responses. Here we
test what nginx does with a request, hundreds of times a second. tests/e2e shows what Gunicorn and Daphne do
with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import socketserver
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs

from harness.raw import read_head
from harness.servers import free_port
from harness.waiting import wait_until

SOURCE = Path(__file__).resolve().parents[2]
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "c2x1aWNlLXRoZS1ndWlkZQ==",
}


# --- responses ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """One response, with its headers in the received order."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        """All values of the header."""
        return [value for field_name, value in self.fields if field_name.lower() == name.lower()]

    def one(self, name: str) -> str:
        """The header's only value, or "" without one."""
        values = self.all(name)
        assert len(values) <= 1, f"{name}: {values}"
        return values[0] if values else ""

    @property
    def made_by(self) -> str:
        """The server that made the response: wsgi, asgi or nginx."""
        return self.one("X-Backend")

    @property
    def received(self) -> Received:
        """The request as the probe received it."""
        return Received.parse(json.loads(self.body)["head"].encode("latin-1"))

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True)
class Received:
    """The head of a request, as a probe received it."""

    method: str
    target: str
    version: str
    fields: list[tuple[str, str]]

    @classmethod
    def parse(cls, head: bytes) -> Received:
        lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, target, version = lines[0].split(" ")
        return cls(
            method,
            target,
            version,
            [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])],
        )

    def all(self, name: str) -> list[str]:
        return [value for field_name, value in self.fields if field_name.lower() == name.lower()]


def exchange(port: int, raw: bytes, deadline: float = 10.0) -> Answer:
    """Send `raw` and read one response to its end (a 101: to the end of its head)."""
    with socket.create_connection(("127.0.0.1", port), timeout=deadline) as wire:
        wire.sendall(raw)
        return read_answer(wire, to_head=raw.startswith(b"HEAD "))


def read_answer(wire: socket.socket, *, to_head: bool = False) -> Answer:
    """Read one response. A response without a length ends with the connection."""
    data = read_head(wire)
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/"):
        return Answer(9 if data else 0, [], data)  # HTTP/0.9 has no head
    lines = head.decode("latin-1").split("\r\n")
    fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
    status = int(lines[0].split(" ")[1])
    if status not in (101, 304) and not to_head:
        length = next((int(value) for name, value in fields if name.lower() == "content-length"), None)
        while (length is None or len(body) < length) and (chunk := wire.recv(65536)):
            body += chunk
    return Answer(status, fields, body)


def head(
    target: str, *, method: str = "GET", version: str = "HTTP/1.1", headers: Mapping[str, str] | None = None
) -> bytes:
    """A request without a body. A header with an empty value is omitted."""
    sent = {"Host": "localhost", "Connection": "close"} | dict(headers or {})
    lines = [f"{method} {target} {version}", *(f"{name}: {value}" for name, value in sent.items() if value)]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


# --- the backends -------------------------------------------------------------------------------------------


@dataclass
class Probe:
    """A server with the name `name` that responds to every request with a copy of the request.

    The query can change the response: status=N, type=TYPE, header=NAME:VALUE, drop=1 (the connection closes),
    stream=1 (one chunk now, the next when `go_on` is set). The response to an upgrade is a 101, then an echo.
    """

    name: str
    host: str = "127.0.0.1"
    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Probe:
        probe = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):
                    probe.answer(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False
            request_queue_size = 1024

        class LocalServer(Server):
            address_family = socket.AF_UNIX

        self._server: Server
        if self.host.startswith("unix:"):
            self._server = LocalServer(self.host.removeprefix("unix:"), Handler)  # type: ignore[arg-type]
        else:
            self._server = Server((self.host, self.port), Handler)
            self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}" if self.port else self.host

    def answer(self, wire: socket.socket) -> None:
        """Serve one connection. nginx uses it for one request."""
        data = read_head(wire)
        if b"\r\n\r\n" not in data:
            return
        request_head, _, body = data.partition(b"\r\n\r\n")
        self.heads.append(request_head)
        received = Received.parse(request_head)
        while len(body) < int((received.all("Content-Length") or ["0"])[0]):
            body += wire.recv(65536)
        wish = parse_qs(received.target.partition("?")[2])
        if "drop" in wish:
            return
        made_by = f"X-Backend: {self.name}\r\nX-Probe: {self.address}\r\n"
        if received.all("Upgrade"):
            wire.sendall(
                f"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{made_by}\r\n".encode()
            )
            while chunk := wire.recv(65536):
                wire.sendall(chunk)
            return
        if "stream" in wish:
            wire.sendall(
                f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{made_by}\r\ndata: one\n\n".encode()
            )
            self.go_on.wait(60)
            wire.sendall(b"data: two\n\n")
            return
        content = json.dumps({"head": request_head.decode("latin-1"), "body": len(body)}).encode()
        extra = "".join(f"{line}\r\n" for line in wish.get("header", []))
        status, kind = wish.get("status", ["200"])[0], wish.get("type", ["application/json"])[0]
        start = f"HTTP/1.1 {status} As Asked\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
        wire.sendall(f"{start}{extra}{made_by}\r\n".encode() + content)


@dataclass
class NameServer:
    """A DNS server for nginx. `names` maps a name to its addresses, and may change at any time. Other names
    don't exist.
    """

    names: dict[str, list[str]] = field(default_factory=dict)

    def __enter__(self) -> NameServer:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # the socket was closed
            while True:
                query, sender = self._socket.recvfrom(4096)
                self._socket.sendto(self._reply(query), sender)

    def _reply(self, query: bytes) -> bytes:
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        question = query[12 : at + 5]
        addresses = self.names.get(".".join(labels).lower())
        answers = b"".join(
            struct.pack("!HHHIH4s", 0xC00C, 1, 1, 600, 4, socket.inet_aton(address))
            for address in addresses or []
        )
        flags = 0x8180 if addresses is not None else 0x8183
        return query[:2] + struct.pack("!HHHHH", flags, 1, len(addresses or []), 0, 0) + question + answers


# --- nginx itself -------------------------------------------------------------------------------------------


@dataclass
class Nginx:
    """One nginx with the container's place file, which the image's own scripts fill in from `settings`."""

    folder: Path
    settings: Mapping[str, str]
    resolver_port: int = 53

    def __enter__(self) -> Self:
        self.port, self.tls_port, self.health_port = free_port(), free_port(), free_port()
        self.lay_out()
        self._log = (self.folder / "log").open("ab")
        command = [*self.command, "-g", "user root;"] if os.geteuid() == 0 else self.command
        self.process = subprocess.Popen(
            command, stdout=self._log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )
        try:
            wait_until(self._answers, 10, "nginx to listen", fatal=self._ended, every=0.02)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(10)
        self._log.close()

    @property
    def command(self) -> list[str]:
        binary = shutil.which("nginx")
        assert binary, "these tests need nginx: run them in the image sluice-tests (make test)"
        return [binary, "-e", "stderr", "-c", str(self.folder / "etc/nginx.conf")]

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def lay_out(self) -> None:
        """Copy nginx/, replace its paths and ports by this lab's, and run the entry point."""
        etc, run = self.folder / "etc", self.folder / "run"
        for kept in ("static", "media"):
            (self.folder / "files" / kept).mkdir(parents=True, exist_ok=True)
        shutil.copytree(SOURCE / "nginx", etc)
        (etc / "mime.types").write_text(
            "types { text/html html; text/css css; application/javascript js; text/plain txt; }"
        )
        (self.folder / "resolv.conf").write_text("search lan\nnameserver 127.0.0.1\n")
        result = run_entry_point(self.folder, self.settings, "true")
        assert result.returncode == 0, result.stderr
        main = etc / "nginx.conf"
        main.write_text(
            _replaced(
                main.read_text(), {"/tmp/nginx": str(run), "127.0.0.1:8090": f"127.0.0.1:{self.health_port}"}
            )
        )
        place = run / "place.conf"
        tls = etc / "container/tls.conf"
        tls.write_text(_replaced(tls.read_text(), {"listen 18080 ": f"listen 127.0.0.1:{self.tls_port} "}))
        place.write_text(
            _replaced(
                place.read_text(),
                {
                    "listen 8080 ": f"listen 127.0.0.1:{self.port} ",
                    "/var/lib/sluice/tls": str(self.folder / "tls"),
                    "/var/lib/sluice": str(self.folder / "files"),
                    "resolver 127.0.0.1 ": f"resolver 127.0.0.1:{self.resolver_port} ",
                },
            )
        )

    def edit_place(self, replacements: Mapping[str, str]) -> None:
        """Change the place file. Call it after lay_out."""
        place = self.folder / "run/place.conf"
        place.write_text(_replaced(place.read_text(), replacements))

    def as_existing_site(self, server: str) -> None:
        """Replace the server in the place file by another site's. Call it after lay_out. `$port` means its
        port.
        """
        place = self.folder / "run/place.conf"
        values, _, _ = place.read_text().partition("\nserver {")
        place.write_text(f"{values}\nserver {{\n{server.replace('$port', str(self.port))}\n}}\n")

    def send(self, target: str, **more: object) -> Answer:
        """Send one request for exactly `target`; see `head`."""
        return exchange(self.port, head(target, **more))  # type: ignore[arg-type]

    def upgrade(self, target: str, **headers: str) -> Answer:
        """Send a WebSocket handshake."""
        return self.send(target, headers=UPGRADE | headers)

    def static(self, name: str, content: str = "content") -> Path:
        """Create a static file."""
        return _written(self.folder / "files/static" / name, content)

    def media(self, name: str, content: str = "content") -> Path:
        """Create a file that nginx serves only for the application (X-Accel-Redirect)."""
        return _written(self.folder / "files/media" / name, content)

    def _answers(self) -> bool:
        with (
            contextlib.suppress(ConnectionRefusedError),
            socket.create_connection(("127.0.0.1", self.port), timeout=1),
        ):
            return True
        return False

    def _ended(self) -> str | None:
        return None if self.process.poll() is None else f"it ended:\n{self.log}"


def run_entry_point(
    folder: Path, settings: Mapping[str, str], *command: str, program: str = "entrypoint", given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the image's entry point, or another program of it, with `given` as its standard input.

    Its paths are below `folder`. Its environment contains only `settings`.
    """
    paths = {
        "/usr/local/lib/sluice/nginx-settings.sh": str(folder / "settings.sh"),
        "/usr/local/lib/sluice/environment.sh": str(SOURCE / "images/lib/environment.sh"),
        "/etc/nginx": str(SOURCE / "nginx"),
        "/tmp/nginx": str(folder / "run"),
        "/usr/local/lib/sluice/certificate.sh": str(folder / "certificate.sh"),
    }
    (folder / "tls").mkdir(exist_ok=True)
    (folder / "certificate.sh").write_text(
        _replaced(
            (SOURCE / "images/nginx/certificate.sh").read_text(), {"/var/lib/sluice/tls": str(folder / "tls")}
        )
    )
    (folder / program).write_text(_present((SOURCE / "images/nginx" / program).read_text(), paths))
    (folder / "settings.sh").write_text(
        _replaced(
            (SOURCE / "images/nginx/settings.sh").read_text(),
            {"/etc/resolv.conf": str(folder / "resolv.conf")},
        )
    )
    environment = {"PATH": os.environ["PATH"], **settings}
    return subprocess.run(
        ["bash", str(folder / program), *command],
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@contextlib.contextmanager
def lab(folder: Path, **settings: str) -> Iterator[tuple[Nginx, Probe, Probe]]:
    """nginx with a probe as each backend: (nginx, wsgi, asgi)."""
    with Probe("wsgi") as wsgi, Probe("asgi") as asgi:
        addresses = {"WSGI_ADDRESS": wsgi.address, "ASGI_ADDRESS": asgi.address}
        with Nginx(folder, {"EXPOSE_BACKEND": "yes", **addresses, **settings}) as nginx:
            yield nginx, wsgi, asgi


def version() -> tuple[int, ...]:
    """The version of the nginx under test."""
    binary = shutil.which("nginx")
    assert binary, "these tests need nginx: run them in the image sluice-tests (make test)"
    output = subprocess.run([binary, "-v"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", output)
    assert found, output
    return tuple(int(part) for part in found.groups())


def _present(text: str, replacements: Mapping[str, str]) -> str:
    return _replaced(text, {old: new for old, new in replacements.items() if old in text})


def _replaced(text: str, replacements: Mapping[str, str]) -> str:
    for old, new in replacements.items():
        assert old in text, f"{old} is no longer in a file that the lab adapts"
        text = text.replace(old, new)
    return text


def _written(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path
