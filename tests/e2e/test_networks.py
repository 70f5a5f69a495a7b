"""Every edge between two containers, allowed and forbidden, tested by address from inside, and the connection
to the outside.
"""

from __future__ import annotations

import pytest

from harness.stack import SERVICES, Stack

PORTS = {"nginx": 8080, "wsgi": 8000, "asgi": 8001, "rabbitmq": 5672, "postgres": 5432}
ALLOWED = {
    "nginx": {"wsgi", "asgi"},
    "wsgi": {"rabbitmq", "postgres", "nginx", "asgi"},
    "asgi": {"rabbitmq", "postgres", "nginx", "wsgi"},
    "worker": {"rabbitmq", "postgres", "wsgi", "asgi"},
    "celery": {"rabbitmq", "postgres", "wsgi", "asgi"},
    "beat": {"rabbitmq", "postgres", "wsgi", "asgi"},
    "rabbitmq": {"wsgi", "asgi"},
    "postgres": {"wsgi", "asgi"},
}
"""The ports that each service can reach. A network joins all its containers, so this includes more than the
design needs: a backend reaches its neighbours.
"""

CLOSED = {"rabbitmq": (4369, 15672, 25672, 35672), "nginx": (8090,), "wsgi": (80, 9191), "postgres": (22,)}
"""Ports that must not listen on any network: epmd, distribution and management; nginx's own health
listener.
"""


def test_which_ports_each_service_reaches(stack: Stack, service: str) -> None:
    targets = {
        f"{address}/{port}": name
        for name, port in PORTS.items()
        if name != service
        for address in stack.service(name)[0].addresses.values()
    }
    reached = {targets[target] for target in connect(stack, service, list(targets))}
    assert reached == ALLOWED[service]


def test_nothing_else_listens(stack: Stack, service: str) -> None:
    targets = [
        f"{address}/{port}"
        for name, ports in CLOSED.items()
        for port in ports
        for address in stack.service(name)[0].addresses.values()
        if name != service
    ]
    assert connect(stack, service, targets) == []


def test_only_nginx_has_a_way_out(stack: Stack, service: str) -> None:
    routes = stack.service(service).exec("cat", "/proc/net/route").output.splitlines()[1:]
    assert any(route.split()[1] == "00000000" for route in routes) == (service == "nginx")


@pytest.mark.parametrize(
    "name",
    [name for name in SERVICES if name not in ("postgres", "wsgi", "asgi", "worker", "celery", "beat")],
)
def test_names_of_other_networks_are_not_known(stack: Stack, name: str) -> None:
    assert stack.service(name).exec("getent", "hosts", "postgres").code != 0


def test_init_has_no_network(stack: Stack) -> None:
    assert set(stack.service("init")[0].addresses) == {"none"}


def connect(stack: Stack, service: str, targets: list[str]) -> list[str]:
    """The targets (`address/port`) that accept a TCP connection from the service's container. All are tried
    at once.
    """
    script = (
        'for target; do (timeout 2 bash -c "</dev/tcp/$target" 2>/dev/null && echo "$target") & done; wait'
    )
    return sorted(stack.service(service).exec("bash", "-c", script, "connect", *targets).output.split())
