"""The deployment that the doctor examines: the programs here with their settings, and nginx in front of them.

Also defines a check.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sluice_stack import environment
from sluice_stack.environment import HOST_PROGRAMS, Environment
from sluice_stack.settings.source import installed

from .finding import Finding
from .front import Front
from .visitor import Visitor


@dataclass(frozen=True)
class Program:
    """A program that runs here. `service` is its name in compose.yaml, and the name of its database role."""

    service: str
    name: str
    env: Environment

    @property
    def place(self) -> str:
        """The file with its settings, for messages."""
        return "compose.yaml" if self.env.sluice_service else f"/etc/sluice/{self.name}.env or sluice.env"


@dataclass
class Deployment:
    """The input of all checks."""

    env: Environment
    programs: list[Program]
    refused: dict[str, list[str]]  # the problems of programs with invalid settings, by program
    front: Front | None  # None: nginx is not checked from here
    clients: int
    push: bool  # whether the packages that push needs are installed
    visitor: Visitor
    patient: bool = False
    # Findings about the broker, by account and check.
    broker: dict[str, dict[str, Finding]] = field(default_factory=dict)
    # HOST:PORT of servers that hang, so that each costs one time-out only.
    stalled: set[str] = field(default_factory=set)

    @property
    def in_container(self) -> bool:
        return bool(self.env.sluice_service)


@dataclass(frozen=True)
class Check:
    """A check.

    `name` is short and stable, for documents and scripts. `title` is what is true if it passes.
    """

    name: str
    title: str
    look: Callable[[Deployment], Iterable[Finding]]


# A project's own checks; they run after the stack's.
project_checks: list[Check] = []


def register(check: Check) -> None:
    """Add a check of the project. Call it in AppConfig.ready()."""
    project_checks.append(check)


def here(url: str = "", at: str = "", *, inside: bool = False, clients: int = 0) -> Deployment:
    """The deployment that this process belongs to.

    `url`: the site's address in the browser (default: SITE_URL with the prefix). `at`: HOST:PORT of nginx as
    seen from here (default: the host of `url`; in a container the service nginx). `inside`: don't check
    nginx. Of the containers only wsgi's checks it: most others can't reach it, and only wsgi has the setting
    TLS.
    """
    env = environment.load()
    programs, refused = _programs(env)
    front = None
    if not inside and (at or env.sluice_service in ("", "wsgi")):
        front = Front.of(url or f"{env.site_url}{env.url_prefix}", at or _nginx(env))
    return Deployment(
        env=env,
        programs=programs,
        refused=refused,
        front=front,
        clients=clients or env.max_clients,
        push=installed("amqp", "channels", "channels_rabbitmq", "daphne"),
        visitor=Visitor(),
    )


def _nginx(env: Environment) -> str:
    """nginx's address, seen from wsgi's container; empty on a host."""
    if not env.sluice_service:
        return ""
    return "http://nginx:8080" if env.tls == "off" else "https://nginx:18080"


def _programs(env: Environment) -> tuple[list[Program], dict[str, list[str]]]:
    """The programs, and the problems of those with invalid settings. In a container: its own program only.

    On a host: all programs, each with its own settings file.
    """
    if env.sluice_service:
        return [Program(env.sluice_service, env.sluice_service, env)], {}
    programs: list[Program] = []
    refused: dict[str, list[str]] = {}
    for service, name in HOST_PROGRAMS.items():
        try:
            own = environment.parse(environment.with_file({**os.environ, "SLUICE_PROGRAM": name}))
        except environment.Malformed as error:
            refused[name] = error.problems
            continue
        programs.append(Program(service, name, own))
    return programs, refused
