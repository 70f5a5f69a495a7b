"""For docs/reference/symptoms.md: stock Daphne, Gunicorn, and typical nginx configurations."""

from __future__ import annotations

import contextlib
import os
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from config.nginx_lab import SOURCE, UPGRADE, Answer, Nginx, exchange, head, read_answer
from harness.servers import free_port
from harness.waiting import wait_until

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
"""The example of CATMAID's and Channels' documentation, with `$daphne` for the port."""


# --- the servers --------------------------------------------------------------------------------------------


class _Backend(ABC):
    """A program of the virtual environment that listens on `port` and logs to `folder`."""

    folder: Path
    port: int
    name: str

    @property
    @abstractmethod
    def command(self) -> list[str]: ...

    @property
    @abstractmethod
    def environment(self) -> dict[str, str]: ...

    def __enter__(self) -> Self:
        self._output = self.log_file.open("ab")
        self.process = subprocess.Popen(
            self.command,
            env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "yes"} | self.environment,
            cwd=SOURCE / "app",
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
        )
        try:
            wait_until(self._listens, 30, self.name, fatal=self._ended, every=0.05)
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
        return self.folder / f"{self.name}.log"

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _ended(self) -> str | None:
        return None if self.process.poll() is None else f"it ended:\n{self.log}"


@dataclass
class Daphne(_Backend):
    """Stock Daphne with an application of symptoms_field.py. `files`: its limit on open files."""

    folder: Path
    application: str
    options: tuple[str, ...] = ()
    files: int = 0
    port: int = field(default_factory=free_port)
    name = "daphne"

    @property
    def command(self) -> list[str]:
        target = self.application if ":" in self.application else f"config.symptoms_field:{self.application}"
        return [_program("daphne"), "-b", "127.0.0.1", "-p", str(self.port), *self.options, target]

    @property
    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(SOURCE / "tests")}

    def __enter__(self) -> Self:
        super().__enter__()
        if self.files:
            self.allow_files(self.files)
        return self

    def allow_files(self, files: int) -> None:
        """Set the limit on open files, as `minfds` and LimitNOFILE do."""
        _, most = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (files, most))


@dataclass
class SupervisedDaphne(Daphne):
    """The same Daphne as a program of supervisord, whose log is supervisord.log."""

    @property
    def command(self) -> list[str]:
        main = self.folder / "supervisord.conf"
        main.write_text(
            f"[supervisord]\nlogfile={self.folder}/supervisord.log\npidfile={self.folder}/pid\nuser=root\n"
            f"[program:daphne]\ncommand={' '.join(super().command)}\nstopsignal=KILL\n"
            f"stdout_logfile={self.log_file}\nstdout_logfile_maxbytes=0\nredirect_stderr=true\n"
        )
        return [_program("supervisord"), "--nodaemon", "--configuration", str(main)]

    @property
    def pid(self) -> int:
        """Daphne's process id, not supervisord's."""
        found = subprocess.run(["pgrep", "--parent", str(self.process.pid)], capture_output=True, check=True)
        return int(found.stdout)

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)
        super().__exit__()


@dataclass
class Gunicorn(_Backend):
    """The site's Gunicorn without a database. `settings` are environment variables."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    name = "gunicorn"

    @property
    def command(self) -> list[str]:
        return [_program("gunicorn"), "--bind", f"127.0.0.1:{self.port}", "mysite.wsgi"]

    @property
    def environment(self) -> dict[str, str]:
        return dict(os.environ) | {"WSGI_WORKERS": "1", "WSGI_THREADS": "2"} | dict(self.settings)

    def ask(self, target: str, *, method: str = "GET", **headers: str) -> Answer:
        return exchange(self.port, head(target, method=method, headers=headers), deadline=15)


def _program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"these tests need {name}: run them in the image sluice-tests (make test)"
    return found


@dataclass
class PlainNginx:
    """nginx with `locations` in one server and nothing of ours. `main` is for the main context, `events` for
    the `events` block.
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

    def reload(self, locations: str) -> None:
        """Reload with other locations. Return when the previous workers no longer hold the port."""
        before = self._workers()
        self.locations = locations
        self.write()
        subprocess.run([*self.command, "-s", "reload"], check=True, capture_output=True, timeout=60)
        wait_until(lambda: not before & self._workers(), 10, "the new worker", every=0.02)

    def _workers(self) -> set[str]:
        command = ["pgrep", "--parent", str(self.process.pid)]
        return set(subprocess.run(command, capture_output=True, text=True, check=False).stdout.split())

    @property
    def command(self) -> list[str]:
        return [
            _program("nginx"),
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
        """Send a WebSocket handshake and close the connection."""
        return self.send(target, **(UPGRADE | headers))

    def websocket(self, target: str = "/channels/updates/") -> AbstractContextManager[socket.socket]:
        """Open a WebSocket."""
        return websocket(self, target)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _ended(self) -> str | None:
        return None if self.process.poll() is None else f"it ended:\n{self.log}"


@contextlib.contextmanager
def seed_site(
    folder: Path, application: str, *options: str, files: int = 0, more: str = "", kind: type[Daphne] = Daphne
) -> Iterator[tuple[PlainNginx, Daphne]]:
    """The documentation's example location, with `more` in it, in front of Daphne with that application."""
    with kind(folder, application, options, files) as daphne:
        location = SEED.replace("$daphne", str(daphne.port)).replace(
            "proxy_redirect off;", f"proxy_redirect off; {more}"
        )
        with PlainNginx(folder, location) as nginx:
            yield nginx, daphne


@contextlib.contextmanager
def websocket(server: PlainNginx | Nginx, target: str = "/channels/updates/") -> Iterator[socket.socket]:
    """An open WebSocket through that nginx."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=15) as wire:
        wire.sendall(head(target, headers=UPGRADE))
        assert read_answer(wire).status == 101
        yield wire


def port_of(daphne: Daphne) -> dict[str, str]:
    """The replacement for the address of Daphne in the page's commands."""
    return {"127.0.0.1:8001": f"127.0.0.1:{daphne.port}"}


STOCK = {"DJANGO_SETTINGS_MODULE": "config.symptoms_stock", "PYTHONPATH": str(SOURCE / "tests")}
"""For `manage`: this site with the stock channel layer."""


def manage(**environment: str) -> dict[str, str]:
    """The replacement for manage.py in the page's commands: this site's, with these environment variables."""
    settings = [f"{name}={value}" for name, value in environment.items()]
    return {"manage.py": shlex.join(["env", *settings, sys.executable, str(SOURCE / "app/manage.py")])}


def nginx_command(nginx: PlainNginx) -> dict[str, str]:
    """The replacement for nginx in the page's commands, which find its files without options."""
    return {"nginx -T": shlex.join([*nginx.command, "-T"])}


def close_code(wire: socket.socket) -> int:
    """The close code that a browser would report: 1006 if the connection ended without a close frame."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := wire.recv(65536):
            data += chunk
    while len(data) >= 2:
        opcode, length = data[0] & 0x0F, data[1] & 0x7F
        assert length < 126, "this frame is longer than the symptoms need"
        if opcode == 8:
            return int.from_bytes(data[2:4]) if length else 1005
        data = data[2 + length :]
    return 1006
