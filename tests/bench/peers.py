"""The servers that `make bench` compares this one with: images/peers, a container for each visit."""

from __future__ import annotations

import http.client
import json
import secrets
from types import TracebackType
from typing import Final

from .client import Person, Place
from .deployed import Failed, Probe, monotonic_us, run, wait_listening

BROKERS: Final = {"channels-rabbitmq": ("rabbitmq", 5672), "channels-redis": ("redis", 6379)}
NAMES: Final = ("channels-rabbitmq", "channels-redis", "uvicorn", "socketio", "ws", "nchan")
_MEMORY: Final = "1g"
_LABEL: Final = f"sluice.bench={secrets.token_hex(8)}"
_PAD: Final = "x"


class Peers:
    """The brokers of the peers, for as long as the block lasts, and their image's name."""

    def __init__(self, image: str, owner: str = "") -> None:
        self.image = image
        self.owner = owner  # the test run, for scripts/sweep
        self.brokers: dict[str, str] = {}

    def __enter__(self) -> Peers:
        try:
            for name, (broker, port) in BROKERS.items():
                address = _address(self._start(broker))
                wait_listening(address, port, 90, broker)
                self.brokers[name] = address
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for container in run("docker", "ps", "--all", "--quiet", "--filter", f"label={_LABEL}").split():
            run("docker", "rm", "--force", container)

    def start(self, name: str) -> Peer:
        """A fresh container of that peer, listening."""
        return Peer(name, self._start(name, f"BROKER={self.brokers.get(name, '')}"))

    def versions(self) -> dict[str, str]:
        """The version of each package that is compared."""
        python, node, *debian = run("docker", "run", "--rm", self.image, "versions").splitlines()
        found = {one["name"]: one["version"] for one in (*json.loads(python), *json.loads(node))}
        return found | dict(line.split(" ", 1) for line in debian)

    def _start(self, name: str, *environment: str) -> str:
        options = [word for pair in environment for word in ("--env", pair)]
        if self.owner:
            options += ["--label", f"sluice.test.run={self.owner}"]
        return run(
            "docker", "run", "--detach", "--init", "--label", _LABEL, "--cpus", "1.0", "--memory", _MEMORY,
            *options, self.image, name,
        ).strip()  # fmt: skip


class Peer:
    """One peer that runs."""

    def __init__(self, name: str, container: str) -> None:
        self.name = name
        self.containers = {"server": container}
        self._container = container
        self._address = _address(container)
        wait_listening(self._address, 9000, 30, name)
        self._control: http.client.HTTPConnection | None = None

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        run("docker", "rm", "--force", self._container)

    @property
    def place(self) -> Place:
        """Where its clients connect."""
        site = f"{self._address}:9000"
        socketio = self.name == "socketio"
        return Place(
            self._address,
            9000,
            host=site,
            origin=f"http://{site}",
            path="/socket.io/?EIO=4&transport=websocket" if socketio else "/ws",
            subprotocol="",
            dialect="socketio" if socketio else "plain",
        )

    def people(self, count: int) -> list[Person]:
        """Clients: nobody signs in."""
        return [Person("", ())] * count

    def publish(self, number: int, times: int, size: int = 200) -> None:
        """Publish so many messages in a row, numbered from `number`. All but nchan do it inside the server;
        nchan gets one request for each, since it has no other way.
        """
        if self.name == "nchan":
            for one in range(number, number + times):
                payload = {"mark": f"#{one}:{monotonic_us()}#", "pad": _PAD * size}
                position = f"{one}-0123456789abcdef"
                frame = {"event": "bench", "payload": payload, "stream": "all", "position": position}
                self._post(json.dumps(frame))
        else:
            self._post(json.dumps({"number": number, "times": times, "size": size}))

    def probes(self) -> dict[str, Probe]:
        """A probe into its container."""
        return {"server": Probe(self._container)}

    def _post(self, body: str) -> None:
        if self._control is None:
            self._control = http.client.HTTPConnection(self._address, 9000, timeout=120)
        self._control.request("POST", "/publish", body)
        response = self._control.getresponse()
        response.read()
        if response.status >= 300:
            raise Failed(f"{self.name}: POST /publish: status {response.status}")
        if response.will_close:
            self._control.close()


def _address(container: str) -> str:
    (known,) = json.loads(run("docker", "inspect", container))
    return str(known["NetworkSettings"]["IPAddress"])
