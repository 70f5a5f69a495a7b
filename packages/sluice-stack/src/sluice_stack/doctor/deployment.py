"""What is examined: the programs that run here with their settings, and nginx in front of them; and what a
check is."""

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
    """A program that runs here. `service` is its name in compose.yaml, and that of its database role."""

    service: str
    name: str
    env: Environment

    @property
    def place(self) -> str:
        """Where its settings are written down."""
        return "compose.yaml" if self.env.sluice_service else f"/etc/sluice/{self.name}.env or sluice.env"


@dataclass
class Deployment:
    """All that the checks ask for."""

    env: Environment
    programs: list[Program]
    refused: dict[str, list[str]]  # programs whose settings can't be used, and why
    front: Front | None  # None: not to be asked from here
    clients: int
    push: bool  # whether what push needs is installed
    visitor: Visitor
    patient: bool = False
    # What the broker said, by account and name of the check.
    broker: dict[str, dict[str, Finding]] = field(default_factory=dict)
    # Servers that do not answer, by HOST:PORT: each is waited for once.
    stalled: set[str] = field(default_factory=set)

    @property
    def in_container(self) -> bool:
        return bool(self.env.sluice_service)


@dataclass(frozen=True)
class Check:
    """`name` is short and stable, for documents and scripts; `title` says what is true if it passes."""

    name: str
    title: str
    look: Callable[[Deployment], Iterable[Finding]]


# A project's own checks, made after the stack's.
project_checks: list[Check] = []


def register(check: Check) -> None:
    """Add a check of the project's, from its AppConfig.ready()."""
    project_checks.append(check)


def here(url: str = "", at: str = "", *, inside: bool = False, clients: int = 0) -> Deployment:
    """The deployment that this process belongs to.

    `url`: where people find the site (default: SITE_URL, with the prefix). `at`: HOST:PORT of nginx, seen
    from here (default: what `url` names; in a container the service nginx). `inside`: don't ask nginx, as
    in all containers but wsgi's: most don't reach it, and no other knows how it speaks.
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
    """Where it listens, seen from wsgi's container; empty on a host."""
    if not env.sluice_service:
        return ""
    return "http://nginx:8080" if env.tls == "off" else "https://nginx:18080"


def _programs(env: Environment) -> tuple[list[Program], dict[str, list[str]]]:
    """In a container the one that runs there; on a host all of them, each with its own file."""
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
