"""TLS by the guide's lines: versions, HTTP/2, resumption, and a WebSocket over it."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator

import pytest

from bare_metal.machine import Machine
from harness import raw
from harness.tls import connect, of_version, trusting
from harness.waiting import wait_until

PLACE = "/etc/nginx/conf.d/sluice-place.conf"
SETTINGS = "/etc/sluice/sluice.env"


@pytest.fixture(scope="module")
def encrypted(followed: tuple[Machine, object]) -> Iterator[Machine]:
    """The machine as an https site, whose nginx has a self-signed certificate."""
    machine = followed[0]
    page = machine.guide.page.read_text()
    lines = re.search(r"^( +listen 443 .*\n( +.*;\n)+)", page, re.MULTILINE)
    command = re.search(r"^openssl req .*$", page, re.MULTILINE)
    assert lines and command
    machine.shell(
        f"name=localhost; {command[0]} 2>/dev/null; cp {PLACE} /root/place.conf; cp -p {SETTINGS} /root"
    )
    try:
        machine.exec("bash", "-c", 'printf %s "$LINES_OF_TLS" >/root/tls', env={"LINES_OF_TLS": lines[1]})
        machine.shell(f"sed -i '/^    listen 80/r /root/tls' {PLACE}; nginx -t 2>&1; service nginx reload")
        wait_until(lambda: _is_open(machine), 10, "nginx on 443")
        _call_it(machine, "https://localhost")
        yield machine
    finally:
        machine.shell(f"cp /root/place.conf {PLACE}; service nginx reload")
        wait_until(lambda: not _is_open(machine), 10, "the end of the workers that redirect")
        machine.shell(f"cp -p /root/sluice.env {SETTINGS}; supervisorctl restart gunicorn:*")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_it_speaks_this_version_and_resumes(encrypted: Machine, version: ssl.TLSVersion) -> None:
    context = of_version(trusting(), version)
    session = None
    for resumed in (False, True):
        with _connect(encrypted, context, session) as wire:
            wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert raw.read_answer(wire).status == 200
            assert wire.session_reused is resumed
            session = wire.session


def test_older_versions_are_refused(encrypted: Machine) -> None:
    with pytest.raises(ssl.SSLError):
        _connect(encrypted, of_version(trusting(), ssl.TLSVersion.TLSv1_1))


def test_who_comes_without_tls_is_led_to_it(encrypted: Machine) -> None:
    answer = raw.get(encrypted.port, f"{encrypted.prefix}/messages/?page=2")
    assert answer.status == 308
    assert answer.headers["location"] == f"https://localhost{encrypted.prefix}/messages/?page=2"


def test_browsers_get_http_2(encrypted: Machine) -> None:
    context = trusting()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with _connect(encrypted, context) as wire:
        assert wire.selected_alpn_protocol() == "h2"


def test_a_websocket_opens_over_tls(encrypted: Machine) -> None:
    host = f"localhost:{encrypted.port}"
    sent = raw.UPGRADE | {"Host": host, "Origin": f"https://{host}"}
    head = f"GET {encrypted.prefix}/channels/updates/ HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    with _connect(encrypted, trusting()) as wire:
        wire.sendall(head.encode() + b"\r\n")
        answer = raw.read_answer(wire)
    assert (answer.status, answer.backend) == (101, "asgi")


def test_browsers_are_bound_to_https_on_its_usual_port_only(encrypted: Machine) -> None:
    """Browsers apply HSTS to all ports of the host."""
    assert _page(encrypted).headers["strict-transport-security"] == "max-age=31536000"
    _call_it(encrypted, "https://localhost:8443")
    assert "strict-transport-security" not in _page(encrypted).headers


def _page(machine: Machine) -> raw.Answer:
    """The sign-in page."""
    request = f"GET {machine.prefix}/accounts/login/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with _connect(machine, trusting()) as wire:
        wire.sendall(request.encode())
        answer = raw.read_answer(wire)
    assert (answer.status, answer.backend) == (200, "wsgi")
    return answer


def _call_it(machine: Machine, url: str) -> None:
    """Set SITE_URL as the guide says, and restart Gunicorn."""
    machine.shell(f"sed -i 's|^SITE_URL=.*|SITE_URL={url}|' {SETTINGS}; supervisorctl restart gunicorn:*")


def _connect(
    machine: Machine, context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> ssl.SSLSocket:
    return connect(443, context, session, address=machine.address)


def _is_open(machine: Machine) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((machine.address, 443)) == 0
