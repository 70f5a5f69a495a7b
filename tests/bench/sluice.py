"""This stack as one of the servers that are compared."""

from __future__ import annotations

from typing import Final

from .client import Person, Place
from .deployed import Deployed, Probe, Publisher, run

DIRECT: Final = "sluice"
THROUGH_NGINX: Final = "sluice-nginx"


class Sluice:
    """The stack, directly to Daphne or through nginx."""

    def __init__(self, stack: Deployed, way: str, publisher: Publisher, *, tls: bool = False) -> None:
        self.name = DIRECT if way == "asgi" else THROUGH_NGINX
        self.stack = stack
        self.way = way
        self.tls = tls
        self._publisher = publisher

    @property
    def place(self) -> Place:
        """Where its clients connect."""
        return self.stack.place(self.way, tls=self.tls)

    def people(self, count: int, streams: int = 2) -> list[Person]:
        """Users with sessions."""
        return self.stack.people(count, streams)

    def publish(self, number: int, times: int, size: int = 200) -> None:
        """Publish to `all`, a transaction for each message."""
        self._publisher.publish(["all"], number=number, times=times, size=size)

    def probes(self) -> dict[str, Probe]:
        """Probes into the containers whose work is counted."""
        found = {f"server{n or ''}": Probe(one) for n, one in enumerate(self.stack.containers("asgi"))}
        if self.way == "nginx":
            found["nginx"] = Probe(self.stack.containers("nginx")[0])
        return found

    def restart(self) -> None:
        """Start Daphne and nginx afresh, with the memory of processes without clients: both keep what clients
        that are gone took.
        """
        for service in ("asgi", "nginx"):
            for container in self.stack.containers(service):
                run("docker", "restart", "--time", "1", container)
            self.stack.wait_healthy(service, 90)
