"""The load client: client.c, compiled at first use, and driven from Python."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

_SOURCE = Path(__file__).with_name("client.c")
_SYSCTLS: Final = ("net.ipv4.ip_local_port_range=10000 65000", "net.ipv4.tcp_tw_reuse=1")


class Broken(Exception):
    """The load client has ended."""


@dataclass(frozen=True)
class Rules:
    """PROTOCOL's figures for clients, in milliseconds. The defaults are those of PROTOCOL.md."""

    backoff_first: float = 500
    backoff_longest: float = 10_000
    far: float = 30_000  # the least wait after 4013 and, if seen, after 429 and a 503 without Retry-After
    settle: float = 10_000  # after a hello, until the back-off is reset
    admission: float = 10_000  # from the beginning of an attempt to the upgrade
    timer: float = 5_000  # from there to hello
    grace: float = 10_000  # of silence, beyond hello's `ping`
    retry: float = 0  # the window after 1012; 0: hello's
    poll_every: float = 60_000  # while there is no connection
    sees_status: bool = False  # whether it sees 429, 503 and Retry-After; a browser's script does not


@dataclass(frozen=True)
class Place:
    """Where clients connect."""

    address: str
    port: int
    host: str = "localhost"
    origin: str = "http://localhost"
    path: str = "/channels/updates/"
    subprotocol: str = "sluice.v1"
    dialect: str = "sluice"  # or plain, or socketio
    tls: bool = False
    transport: str = "websocket"  # or sse
    poll_path: str = ""  # where clients poll while they have no connection; empty: nowhere


@dataclass(frozen=True)
class Person:
    """Who a client is, and what it follows."""

    cookie: str
    streams: tuple[str, ...]


@dataclass(frozen=True)
class Container:
    """Where the load client runs if not beside this process: an image that has it, and a network.

    The network namespace of the container has all its ports free, and the client may change how the kernel
    reuses them. With few free ports, each connect() takes milliseconds, and the client does nothing else
    for seconds.
    """

    image: str
    network: str
    labels: tuple[str, ...] = ()

    def command(self, length: int) -> list[str]:
        """Start the program given after it, with /tmp/clients made of the first bytes of standard input."""
        labels = [part for label in self.labels for part in ("--label", label)]
        sysctls = [part for one in _SYSCTLS for part in ("--sysctl", one)]
        return [
            "docker", "run", "--rm", "--interactive", "--init", "--network", self.network,
            *sysctls, *labels, self.image,
            "bash", "-c", f'head -c {length} > /tmp/clients && exec "$@"', "load-client",
        ]  # fmt: skip


class LoadClient:
    """Many clients in one process. client.c describes the commands."""

    def __init__(
        self,
        place: Place,
        people: Sequence[Person],
        rules: Rules | None = None,
        *,
        sources: Sequence[str] = (),
        seed: int = 1,
        core: int | None = None,
        within: Container | None = None,
    ) -> None:
        self.count = len(people)
        self._within = within
        lines = "".join(f"{person.cookie}\t{','.join(person.streams)}\n" for person in people)
        self._file: Path | None = None
        if within is None:
            with tempfile.NamedTemporaryFile("w", prefix="sluice-bench-", delete=False) as file:
                file.write(lines)
            self._file = Path(file.name)
        options: dict[str, Any] = asdict(place) | asdict(rules or Rules()) | {"seed": seed}
        if sources:
            options["sources"] = ",".join(sources)
        if self._file is not None:
            command = [str(compiled()), "--clients", str(self._file)]
        else:
            command = ["sluice-bench-client", "--clients", "/tmp/clients"]
        for name, value in options.items():
            text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
            command += [f"--{name.replace('_', '-')}", text]
        if core is not None:
            command = ["taskset", "--cpu-list", str(core), *command]
        if within is not None:
            command = [*within.command(len(lines)), *command]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if within is not None:
            assert self._process.stdin
            self._process.stdin.write(lines)
            self._process.stdin.flush()

    def __enter__(self) -> LoadClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, command: str) -> Any:
        """Send one command and return its JSON."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(f"{command}\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            status = self._process.wait(10)
            raise Broken(f"the load client ended with status {status}: {self._why(status)}")
        return json.loads(line)

    def close(self) -> None:
        """End it; its connections break."""
        assert self._process.stdin
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # it ends at the end of its input, in a container too
        if self._within is None:
            self._process.kill()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def _why(self, status: int) -> str:
        if self._within is not None and status == 125:  # of `docker run` itself
            return (
                "Docker could not start its container: see its message above. It needs the image"
                f" {self._within.image}, the network {self._within.network} and the sysctls"
                f" {', '.join(_SYSCTLS)} in a network namespace of its own"
            )
        return "see its message above"


def compiled() -> Path:
    """The program, built by this machine's C compiler unless it is there; SLUICE_BENCH_CLIENT names one."""
    if given := os.environ.get("SLUICE_BENCH_CLIENT"):
        return Path(given)
    digest = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:16]
    program = Path(tempfile.gettempdir()) / f"sluice-bench-client-{digest}"
    if not program.exists():
        making = program.with_suffix(f".{os.getpid()}")
        subprocess.run(
            ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", making, _SOURCE, "-lssl", "-lcrypto"],
            check=True,
        )
        making.rename(program)
    return program
