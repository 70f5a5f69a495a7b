"""Behind a second proxy: nginx trusts that proxy's headers about a client's address, and no other
client's.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from docker.models.containers import Container

from bare_metal.machine import Machine
from harness import raw
from harness.engine import OWNER_LABEL, PREFIX, engine, own_image, run_id
from harness.waiting import wait_until

CLIENT = "203.0.113.5"
PLACE = "/etc/nginx/conf.d/sluice-place.conf"
PROXY = """
    daemon off;
    pid /tmp/nginx.pid;
    error_log stderr;
    events {}
    http {
        access_log off;
        server {
            listen 8888;
            location / {
                proxy_pass http://MACHINE:80;
                proxy_http_version 1.1;
                proxy_set_header Host $http_host;
                proxy_set_header Upgrade $http_upgrade;
                proxy_set_header Connection $http_connection;
                proxy_set_header X-Forwarded-For CLIENT;
            }
        }
    }
"""


@dataclass
class Behind:
    """The machine, and a proxy in front of it that it trusts."""

    machine: Machine
    proxy: Container

    def seen_address(self, port: int, host: str, headers: dict[str, str]) -> str:
        """The client's address in nginx's log, for a request to that host and port."""
        mark = secrets.token_hex(8)
        target = f"{self.machine.prefix}/accounts/login/?{mark}"
        lines = [f"GET {target} HTTP/1.1", f"Host: localhost:{self.machine.port}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        answer = raw.request(port, "\r\n".join(lines).encode() + b"\r\n\r\n", host=host)
        assert answer.status == 200
        found = wait_until(
            lambda: re.search(rf"^\S+ (\S+) .*{mark}", self.machine.log_of("nginx"), re.MULTILINE),
            10,
            "nginx's line",
        )
        assert found
        return str(found[1])


@pytest.fixture
def behind(machine: Machine) -> Iterator[Behind]:
    """Insert the guide's two lines into the place file, with the proxy's address."""
    lines = re.search(r"^( +set_real_ip_from) \S+;\n( +real_ip_header .*;)$", _guide(machine), re.MULTILINE)
    assert lines
    configuration = PROXY.replace("MACHINE", machine.address).replace("CLIENT", CLIENT)
    proxy: Container = engine().containers.run(
        own_image(),
        ["bash", "-c", 'printf %s "$CONFIGURATION" >/tmp/nginx.conf; exec nginx -c /tmp/nginx.conf'],
        environment={"CONFIGURATION": configuration},
        labels={OWNER_LABEL: f"{PREFIX}-{run_id()}-proxy"},
        detach=True,
    )
    try:
        proxy.reload()
        address = proxy.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        machine.shell(f"cp {PLACE} /root/place.conf")
        added = f"{lines[1]} {address};\\n{lines[2]}"
        machine.shell(f"sed -i '/^    listen 80/a {added.strip()}' {PLACE}; nginx -t; service nginx reload")
        yield Behind(machine, proxy)
    finally:
        proxy.remove(force=True)
        machine.shell(f"cp /root/place.conf {PLACE}; service nginx reload")


def test_only_the_proxys_headers_are_trusted(behind: Behind) -> None:
    address = behind.proxy.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    wait_until(lambda: behind.seen_address(8888, address, {}) == CLIENT, 10, "the new configuration")
    forged = {"X-Forwarded-For": CLIENT, "X-Real-IP": CLIENT, "Forwarded": f"for={CLIENT}"}
    assert behind.seen_address(behind.machine.port, "127.0.0.1", forged) != CLIENT


def test_a_websocket_comes_through_both(behind: Behind) -> None:
    address = behind.proxy.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
    origin = behind.machine.origin
    sent = raw.UPGRADE | {"Host": f"localhost:{behind.machine.port}", "Origin": origin}
    target = f"{behind.machine.prefix}/channels/updates/"
    head = f"GET {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    answer = raw.request(8888, head.encode() + b"\r\n", host=address)
    assert (answer.status, answer.backend) == (101, "asgi")


def _guide(machine: Machine) -> str:
    return machine.guide.page.read_text()
