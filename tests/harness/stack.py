"""A test's own stack: the real compose.yaml under a unique name, on a free loopback port that it keeps."""

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
WITHOUT_BROKER = ("nginx", "wsgi", "asgi", "postgres")
"""What runs where the database wakes Daphne. All other services need RabbitMQ."""
_NO_BROKER = """\
services:
  wsgi:
    environment: {PUBLISHER_URL: "", PUBLISHER_PASSWORD_FILE: "", TASKS_URL: "", TASKS_PASSWORD_FILE: ""}
  asgi:
    environment: {LAYER_URL: "", LAYER_PASSWORD_FILE: ""}
  worker: {profiles: ["broker"]}
  celery: {profiles: ["broker"]}
  beat: {profiles: ["broker"]}
  rabbitmq: {profiles: ["broker"]}
"""
LIVE: list[Stack] = []
"""The running stacks, for the evidence on a failure."""

_numbers = itertools.count(1)
_PORT_TAKEN = re.compile(r"port is already allocated|address already in use", re.IGNORECASE)
_BOOT_DEADLINE = 240.0


class Stack(People):
    """One instance of the stack. A context manager: `with Stack(tag) as stack` boots it, and removes it at
    the end.

    `settings` is the operator's part of `.env`. Without a `broker` there is no RabbitMQ, nor what needs it.
    SLUICE_KEEP=yes (pytest: --keep) keeps the stack after the run.
    """

    def __init__(
        self, image_tag: str, settings: Mapping[str, str] | None = None, *, broker: bool = True
    ) -> None:
        super().__init__()
        self.services = SERVICES if broker else WITHOUT_BROKER
        self.name = f"{PREFIX}-{run_id()}-{next(_numbers)}"
        self.image_tag = image_tag
        self.given = dict(settings or {})
        self.authority: Path | None = None
        self.folder = Path(tempfile.gettempdir()) / self.name
        self.started = datetime.datetime.now(datetime.UTC)
        self.port = free_port()
        self.tls_port = free_port()
        self.compose = Compose.create(
            self.name, self.folder, self.settings, override="" if broker else _NO_BROKER
        )
        LIVE.append(self)

    # ---- its description

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
        """ "self-signed", "own", or ""."""
        return self.given.get("TLS", "")

    @property
    def certificate(self) -> Path | None:
        """The certificate to trust, with TLS: `authority` if it is set, else the served certificate, read
        again each time.
        """
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
    def asgi_prefixes(self) -> tuple[str, ...]:
        """The paths below the URL prefix that nginx passes on to Daphne."""
        return tuple(self.settings.get("ASGI_PREFIXES", "/channels/").split())

    @property
    def origin(self) -> str:
        """Scheme, host and port as a browser's Origin header has them."""
        if self.tls:
            return f"https://localhost:{self.tls_port}"
        return f"http://localhost:{self.port}"

    @property
    def url(self) -> str:  # type: ignore[override]
        """The site's base URL, without a slash at the end."""
        return self.origin + self.prefix

    @functools.cached_property
    def nginx_version(self) -> tuple[int, ...]:
        """nginx's version, such as (1, 26, 3)."""
        return version_of(self.service("nginx").exec("nginx", "-v").output)

    def ask_directly(self, who: str, request: str) -> bytes:
        """Send a request to nginx, wsgi or asgi from nginx's own container, and return the response."""
        address = {"nginx": "127.0.0.1/8080", "wsgi": "wsgi/8000", "asgi": "asgi/8001"}[who]
        script = f'exec 3<>/dev/tcp/{address}; printf %s "$REQUEST" >&3; timeout 5 cat <&3'
        done = self.service("nginx")[0].exec("bash", "-c", script, env={"REQUEST": request})
        return done.output.encode()

    def upstream(self, side: str) -> str:
        """The address of wsgi or asgi, as in nginx's log."""
        return f"{self.service(side)[0].addresses['web']}:{ {'wsgi': 8000, 'asgi': 8001}[side] }"

    def log_of(self, who: str) -> str:
        """The logs of the service's containers."""
        return self.service(who).logs()

    def service(self, name: str) -> Service:
        """A handle on one service."""
        return Service(self, name)

    def containers(self) -> list[Container]:
        """All containers of the project, including stopped ones."""
        found: list[Container] = engine().containers.list(
            all=True, filters={"label": f"{PROJECT_LABEL}={self.name}"}, ignore_removed=True
        )
        return found

    # ---- its life cycle

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
        """Start the services (default: all) and return when all are healthy. Take another port if another
        program took ours in the meantime.
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
        """Run `docker compose up`. Stop as soon as a container has died, with the evidence in the message."""
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
        """Start and repair every service until all are healthy. Return at once if they are."""

        def is_whole(name: str) -> bool:
            replicas = self.service(name).replicas
            return bool(replicas) and all(replica.healthy for replica in replicas)

        if not all(is_whole(name) for name in self.services):
            self.up(options=("--no-recreate",))

    def deaths(self) -> dict[tuple[str, str], str]:
        """A sentence about each container that died unexpectedly, by its id and the engine's time of death.

        The time tells a new death from one that an earlier call found, however short the interval.
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
        """A sentence about a death that is not among the `earlier` ones, or None."""
        return next((sentence for death, sentence in self.deaths().items() if death not in earlier), None)

    def wait_healthy(self, deadline: float = 90) -> None:
        """Wait until the containers of every service are healthy. One-shots don't count."""
        for name in self.services:
            if self.service(name).replicas:
                self.service(name).wait_healthy(deadline)

    def close(self) -> None:
        """Remove it with its volumes, unless SLUICE_KEEP is set."""
        if self in LIVE:
            LIVE.remove(self)
        if os.environ.get("SLUICE_KEEP") == "yes":
            return
        self.compose.run("down", "--volumes", "--remove-orphans", "--timeout", "1", deadline=180)

    # ---- inspection

    def psql(self, query: str, *, parameters: Mapping[str, str] | None = None) -> list[list[str]]:
        """Return the query's rows, as the superuser over PostgreSQL's own socket. The query refers to
        `parameters` as :'name'.
        """
        return psql(self.service("postgres")[0].exec, query, parameters)

    def rabbitmqctl(self, *arguments: str) -> Result:
        """Run `rabbitmqctl` in the broker's container. The exit status is not checked."""
        return self.service("rabbitmq").exec("rabbitmqctl", *arguments)

    def manage(self, code: str, service: str = "wsgi") -> str:
        """Run Python inside the project, with the service's account and environment."""
        python = "/opt/sluice/venv/bin/python"
        done = self.service(service).exec(
            python, "/opt/sluice/app/manage.py", "shell", "--verbosity", "0", "-c", code
        )
        assert done.code == 0, f"manage.py shell in {service}: {done.output}"
        return done.output

    @functools.cache  # noqa: B019  (a stack lives as long as the test run)
    def secrets(self) -> dict[str, str]:
        """All secrets by name, read by the one-shot that creates them: no other service can read them all."""
        script = 'cd /run/sluice/secrets; for name in *; do echo "=$name=$(<"$name")"; done'
        done = self.compose.run("run", "--rm", "--no-deps", "--entrypoint", "bash", "init", "-c", script)
        return dict(re.findall("^=(.+?)=(.+)$", done.stdout, re.MULTILINE))

    def snapshot(self) -> str:
        """`docker compose ps`, including stopped containers."""
        return self.compose.run("ps", "--all", check=False).stdout


def version_of(text: str) -> tuple[int, ...]:
    """The first version in the text, such as (1, 26, 3) of "nginx version: nginx/1.26.3"."""
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    assert found, text
    return tuple(map(int, found.groups()))


def free_port() -> int:
    """A loopback port that is free now, below the range of the kernel's ephemeral ports."""
    while True:
        port = random.randint(20000, 31999)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
