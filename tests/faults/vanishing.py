"""Clients in a container of their own, so that their whole machine can vanish: no FIN, no RST, no ACK."""

from __future__ import annotations

from types import TracebackType

from docker.models.containers import Container

from harness import raw
from harness.engine import OWNER_LABEL, PREFIX, engine, own_image, run_id
from harness.stack import Stack
from harness.waiting import wait_until

_CONNECT = """
import signal, socket, sys
wires = []
for request in sys.argv[1:]:
    wire = socket.create_connection(("nginx", 8080), timeout=10)
    wire.sendall(request.encode().decode("unicode_escape").encode("latin-1"))
    seen = b""
    while b'"hello"' not in seen:
        piece = wire.recv(65536)
        assert piece, seen
        seen += piece
    print("hello", flush=True)
    wires.append(wire)
signal.pause()
"""


class Machine:
    """One WebSocket and one event stream of a user, on the stack's network `front`."""

    def __init__(self, stack: Stack, user: str) -> None:
        self.stack = stack
        self.user = user
        self._network = engine().networks.get(f"{stack.name}_front")

    def __enter__(self) -> Machine:
        cookies = self.stack.browser(self.user).cookies
        requests = [
            _request(self.stack, "/channels/updates/", raw.UPGRADE | {"Cookie": cookies}),
            _request(self.stack, "/channels/updates/sse", {"Cookie": cookies, "Accept": "text/event-stream"}),
        ]
        self._container: Container = engine().containers.run(
            own_image(),
            ["python", "-c", _CONNECT, *requests],
            network=self._network.name,
            detach=True,
            labels={OWNER_LABEL: f"{PREFIX}-{run_id()}-helper"},
        )
        try:
            wait_until(self._greeted, 30, "two hellos")
        except BaseException:
            self._container.remove(force=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.remove(force=True)

    def vanish(self) -> None:
        """Disconnect it from the network, with no notice to the server."""
        self._network.disconnect(self._container, force=True)

    def _greeted(self) -> bool:
        written = self._container.logs().decode()
        self._container.reload()
        assert self._container.status in ("created", "running"), written
        return written.count("hello") == 2


def _request(stack: Stack, path: str, headers: dict[str, str]) -> str:
    lines = [f"GET {stack.prefix}{path} HTTP/1.1"]
    lines += [
        f"{k}: {v}"
        for k, v in ({"Host": f"localhost:{stack.port}", "Origin": stack.origin} | headers).items()
    ]
    return "\\r\\n".join(lines) + "\\r\\n\\r\\n"
