"""A stack of one's own: the real compose.yaml under a unique name, on a free loopback port that stays its
own for its life.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import os
import random
import re
import socket
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType

from docker.errors import NotFound
from docker.models.containers import Container

from . import evidence
from .compose import Compose, ComposeFailed
from .engine import PREFIX, PROJECT_LABEL, engine, run_id
from .people import People
from .psql import psql
from .service import Replica, Result, Service
from .waiting import Hopeless, TimedOut, wait_until

ONE_SHOTS = frozenset({"init", "migrate"})
SERVICES = ("nginx", "wsgi", "asgi", "worker", "celery", "beat", "rabbitmq", "postgres")
LIVE: list[Stack] = []
"""The stacks that are up, for the evidence on a failure."""

_numbers = itertools.count(1)
_PORT_TAKEN = re.compile(r"port is already allocated|address already in use", re.IGNORECASE)
_BOOT_DEADLINE = 240.0


class Stack(People):
    """One instance of the stack. A context manager: `with Stack(tag) as stack` boots, and takes all of it
    down at the end.

    `settings` is what an operator would write to `.env`. Keep a stack after the run with SLUICE_KEEP=yes
    (pytest: --keep).
    """

    def __init__(self, image_tag: str, settings: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.name = f"{PREFIX}-{run_id()}-{next(_numbers)}"
        self.image_tag = image_tag
        self.given = dict(settings or {})
        self.authority: Path | None = None
        self.folder = Path(tempfile.gettempdir()) / self.name
        self.started = datetime.datetime.now(datetime.UTC)
        self.port = free_port()
        self.tls_port = free_port()
        self.compose = Compose.create(self.name, self.folder, self.settings)
        LIVE.append(self)

    # ---- what it is

    @property
    def settings(self) -> dict[str, str]:
        """The whole `.env`."""
        usual = {
            "IMAGE_TAG": self.image_tag,
            "HTTP_PORT": str(self.port),
            "EXPOSE_BACKEND": "yes",
        }
        if self.tls:
            usual["HTTPS_PORT"] = str(self.tls_port)
        return usual | self.given

    @property
    def tls(self) -> str:
        """self-signed, own, or nothing."""
        return self.given.get("TLS", "")

    @property
    def certificate(self) -> Path | None:
        """What has to be trusted, with TLS: the certificate itself, read anew; `authority` if that is set."""
        if not self.tls or self.authority:
            return self.authority
        served = self.service("nginx").exec("openssl", "x509", "-in", "/var/lib/sluice/tls/self-signed.pem")
        path = self.folder / "served.pem"
        path.write_text(served.output)
        return path

    @property
    def prefix(self) -> str:
        """The URL prefix, "" or "/a/b"."""
        return self.settings.get("URL_PREFIX", "")

    @property
    def origin(self) -> str:
        """Scheme, host and port as a browser's Origin header has them."""
        if self.tls:
            return f"https://localhost:{self.tls_port}"
        return f"http://localhost:{self.port}"

    @property
    def url(self) -> str:  # type: ignore[override]
        """Where the site begins, without a slash at the end."""
        return self.origin + self.prefix

    @functools.cached_property
    def nginx_version(self) -> tuple[int, ...]:
        """Such as (1, 26, 3)."""
        return version_of(self.service("nginx").exec("nginx", "-v").output)

    def ask_directly(self, who: str, request: str) -> bytes:
        """What nginx, wsgi or asgi itself answers to that request, sent from nginx's own container."""
        address = {"nginx": "127.0.0.1/8080", "wsgi": "wsgi/8000", "asgi": "asgi/8001"}[who]
        script = f'exec 3<>/dev/tcp/{address}; printf %s "$REQUEST" >&3; timeout 5 cat <&3'
        done = self.service("nginx")[0].exec("bash", "-c", script, env={"REQUEST": request})
        return done.output.encode()

    def upstream(self, side: str) -> str:
        """The address of wsgi or asgi, as nginx's log has it."""
        return f"{self.service(side)[0].addresses['web']}:{ {'wsgi': 8000, 'asgi': 8001}[side] }"

    def log_of(self, who: str) -> str:
        """What the service's containers wrote."""
        return self.service(who).logs()

    def service(self, name: str) -> Service:
        """A handle on one service."""
        return Service(self, name)

    def containers(self) -> list[Container]:
        """All containers of the project, dead ones too."""
        found: list[Container] = engine().containers.list(
            all=True, filters={"label": f"{PROJECT_LABEL}={self.name}"}, ignore_removed=True
        )
        return found

    # ---- its life

    def __enter__(self) -> Stack:
        try:
            return self.boot()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def boot(self, *services: str) -> Stack:
        """Start the services (default: all) and return when all are healthy; another port if ours was
        taken in between.
        """
        for _ in range(5):
            try:
                self.up(*services)
                return self
            except ComposeFailed as error:
                if not _PORT_TAKEN.search(str(error)):
                    raise
            self.port, self.tls_port = free_port(), free_port()
            self.compose.write_env(self.settings)
        raise ComposeFailed(f"no free port in five tries; the last was {self.port}")

    def up(
        self,
        *services: str,
        scale: Mapping[str, int] | None = None,
        wait: bool = True,
        options: tuple[str, ...] = (),
        deadline: float = _BOOT_DEADLINE,
    ) -> None:
        """`docker compose up`; stops early, with the evidence in the message, as soon as a container has
        died.
        """
        flags = ["--detach", "--no-build", *options]
        if wait:
            flags += ["--wait", "--wait-timeout", str(int(deadline))]
        for name, count in (scale or {}).items():
            flags += ["--scale", f"{name}={count}"]
        earlier = self.deaths()
        process = self.compose.start("up", *flags, *services)
        try:
            wait_until(
                lambda: process.poll() is not None,
                deadline,
                f"docker compose up {' '.join(services)}",
                fatal=lambda: self.casualty(earlier),
                every=0.25,
            )
        except (TimedOut, Hopeless) as error:
            process.kill()
            raise ComposeFailed(
                f"{error}\n{process.communicate()[0]}\n{evidence.as_text(self, self.started)}"
            ) from None
        output = process.communicate()[0]
        if process.returncode:
            message = f"docker compose up: status {process.returncode}\n{output}"
            if not _PORT_TAKEN.search(output):
                message += f"\n{evidence.as_text(self, self.started)}"
            raise ComposeFailed(message)

    def mend(self) -> None:
        """Every service in place and healthy again, whatever was done to them; at once if they are."""

        def is_whole(name: str) -> bool:
            replicas = self.service(name).replicas
            return bool(replicas) and all(replica.healthy for replica in replicas)

        if not all(is_whole(name) for name in SERVICES):
            self.up(options=("--no-recreate",))

    def deaths(self) -> dict[tuple[str, str], str]:
        """What died by itself, as a sentence each, by the container's id and the engine's time of that
        death: whatever a second look finds and the first didn't is new, however soon it comes.
        """
        found = {}
        for container in self.containers():
            replica = Replica(self, container)
            try:
                state = replica.state
                if state["Restarting"] or (
                    state["Status"] == "exited" and state["ExitCode"] not in (0, 137, 143)
                ):
                    last = replica.logs().strip().splitlines()[-1:] or ["(it wrote nothing)"]
                    sentence = f"{replica.service} died with exit code {state['ExitCode']}: {last[0]}"
                    found[str(container.id), str(state["FinishedAt"])] = sentence
            except NotFound:  # compose is removing containers at this moment
                continue
        return found

    def casualty(self, earlier: Collection[tuple[str, str]]) -> str | None:
        """One sentence on something that died and isn't among the `earlier` deaths, or None."""
        return next((sentence for death, sentence in self.deaths().items() if death not in earlier), None)

    def wait_healthy(self, deadline: float = 90) -> None:
        """Wait until every service's containers are healthy; one-shots aside."""
        for name in SERVICES:
            if self.service(name).replicas:
                self.service(name).wait_healthy(deadline)

    def close(self) -> None:
        """Take it down with its volumes, unless it is to be kept."""
        if self in LIVE:
            LIVE.remove(self)
        if os.environ.get("SLUICE_KEEP") == "yes":
            return
        self.compose.run("down", "--volumes", "--remove-orphans", "--timeout", "1", deadline=180)

    # ---- what it knows

    def psql(self, query: str, *, parameters: Mapping[str, str] | None = None) -> list[list[str]]:
        """Rows of a query, run as the superuser over PostgreSQL's own socket; `parameters` by :'name'."""
        return psql(self.service("postgres")[0].exec, query, parameters)

    def rabbitmqctl(self, *arguments: str) -> Result:
        """`rabbitmqctl` in the broker's container; asserts nothing."""
        return self.service("rabbitmq").exec("rabbitmqctl", *arguments)

    def manage(self, code: str, service: str = "wsgi") -> str:
        """Run Python inside the project, as the service would."""
        python = "/opt/sluice/venv/bin/python"
        done = self.service(service).exec(
            python, "/opt/sluice/app/manage.py", "shell", "--verbosity", "0", "-c", code
        )
        assert done.code == 0, f"manage.py shell in {service}: {done.output}"
        return done.output

    @functools.cache  # noqa: B019  (a stack lives as long as the test run)
    def secrets(self) -> dict[str, str]:
        """All secrets by name, by way of the one-shot that makes them: nobody else can read them all."""
        script = 'cd /run/sluice/secrets; for name in *; do echo "=$name=$(<"$name")"; done'
        done = self.compose.run("run", "--rm", "--no-deps", "--entrypoint", "bash", "init", "-c", script)
        return dict(re.findall("^=(.+?)=(.+)$", done.stdout, re.MULTILINE))

    def snapshot(self) -> str:
        """`docker compose ps`, dead containers too."""
        return self.compose.run("ps", "--all", check=False).stdout


def version_of(text: str) -> tuple[int, ...]:
    """The first version in it, such as (1, 26, 3) of "nginx version: nginx/1.26.3"."""
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    assert found, text
    return tuple(map(int, found.groups()))


def free_port() -> int:
    """A loopback port that is free now, below the range from which the kernel hands out ports by itself."""
    while True:
        port = random.randint(20000, 31999)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
