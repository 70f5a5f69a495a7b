"""The doctor finds faults of nginx, or of a proxy in front of it, from outside: a real nginx with each
mistake.
"""

from __future__ import annotations

import contextlib
import datetime
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from unit.doctor.fronts import bare, own, snippet
from unit.doctor.house import House

from config.nginx_lab import UPGRADE, Nginx, head, read_answer


def without_static_files(nginx: Nginx) -> None:
    shutil.rmtree(nginx.folder / "files/static")


@dataclass(frozen=True)
class Mistake:
    """A mistake in nginx, and the expected check, message and fix."""

    check: str
    message: str
    fix: str
    change: Callable[[House], Callable[[Nginx], None]] = lambda house: lambda nginx: None
    settings: dict[str, str] = field(default_factory=dict)


UPGRADE_LINES = """
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";"""

MISTAKES = {
    "nginx does not serve the name": Mistake(
        "front-name",
        "does not serve the name",
        "$sluice_names",
        settings={"SITE_URL": "http://other.example"},
    ),
    "another prefix": Mistake(
        "front-pages", "is not found", "URL_PREFIX", settings={"URL_PREFIX": "/elsewhere"}
    ),
    "Host is not passed on": Mistake(
        "front-name",
        "Django does not serve the name",
        "proxy_set_header Host",
        bare("proxy_set_header Host $http_host;\n    location /c", "location /c"),
    ),
    "another server answers": Mistake(
        "front-pages",
        "another server answers",
        "sites-enabled/default",
        own("location / { return 200 Welcome; }"),
    ),
    "all is redirected": Mistake(
        "front-answers",
        "redirects to https://there",
        "check that address",
        own("return 301 https://there$request_uri;"),
    ),
    "Daphne serves the pages": Mistake(
        "front-pages",
        "nginx passes pages to Daphne",
        "$sluice_wsgi",
        lambda house: place(house, "wsgi", house.ports["daphne"]),
    ),
    "everything is Daphne's": Mistake(
        "split-site",
        "/accounts/login/ reaches Daphne",
        "channels.conf",
        lambda house: place(house, "wsgi", house.ports["daphne"]),
    ),
    "another server in Gunicorn's place": Mistake(
        "front-pages",
        "Gunicorn accepts the connection and closes it",
        "$sluice_wsgi",
        lambda house: place(house, "wsgi", house.postgres.port),
    ),
    "another server in Daphne's place": Mistake(
        "push-upgrade",
        "Daphne accepts the connection and closes it",
        "$sluice_asgi",
        lambda house: place(house, "asgi", house.postgres.port),
    ),
    "no static files": Mistake(
        "front-static", "gets 404", "collectstatic", lambda house: without_static_files
    ),
    "nginx breaks off": Mistake(
        "split-channels",
        "nginx does not answer: the connection is closed without an answer",
        "nginx's error log",
        own("return 444;"),
    ),
    "somebody else answers for channels": Mistake(
        "split-channels",
        "gets 404, not 426: nobody home",
        "channels.conf",
        own("return 404 'nobody home';"),
    ),
    "somebody else refuses the upgrade": Mistake(
        "push-upgrade",
        "the upgrade gets 418: short and stout",
        "Daphne's log",
        own("return 418 'short and stout';"),
    ),
    "somebody else accepts the upgrade": Mistake(
        "push-upgrade", "a wrong key", "in front", own("return 101;")
    ),
    "somebody else accepts it and breaks off": Mistake(
        "push-hello",
        "the socket is cut before its first frame",
        "Daphne's log",
        own("keepalive_timeout 0; return 101;"),
    ),
    "all that begins so is taken for channels": Mistake(
        "split-site",
        "/channels is treated as if it were below /channels/",
        "channels.conf",
        bare("location /channels/ {", "location = /channels { return 426; }\n    location /channels/ {"),
    ),
    "the health of Daphne has another spelling": Mistake(
        "push-health",
        "/channels/healthz gets 426",
        "conf.d/sluice-split.conf",
        snippet("conf.d/sluice-split.conf", "(?:updates/sse|healthz)", "(?:updates/sse|health)"),
    ),
    "the line for channels is missing": Mistake(
        "split-channels",
        "reach Gunicorn",
        "include snippets/sluice/channels.conf;",
        snippet("site.conf", "include snippets/sluice/channels.conf;", ""),
    ),
    "an upgrade that reaches Gunicorn": Mistake(
        "push-upgrade",
        "reaches Gunicorn",
        "see split-channels",
        snippet("site.conf", "include snippets/sluice/channels.conf;", ""),
    ),
    "a bare location: plain requests": Mistake("split-channels", "plain requests", "channels.conf", bare()),
    "a bare location: redirects": Mistake(
        "split-site", "nginx itself redirects /channels", "channels.conf", bare()
    ),
    "a bare location: redirects, on a server with a policy": Mistake(
        "split-site",
        "nginx itself redirects /channels",
        "channels.conf",
        bare(
            "location /channels/ {",
            "add_header Content-Security-Policy \"default-src 'none'\" always;\n    location /channels/ {",
        ),
    ),
    "a bare location: spellings": Mistake(
        "split-imitations", "/%63hannels/updates/ reaches Daphne", "channels.conf", bare()
    ),
    "a bare location: bodies": Mistake("split-bodies", "a POST below /channels/", "channels.conf", bare()),
    "a location that only looks at the method": Mistake(
        "split-bodies",
        "a body below /channels/",
        "channels.conf",
        bare("location /channels/ {", "location /channels/ { if ($request_method != GET) { return 405; }"),
    ),
    "a bare location: strangers' headers": Mistake(
        "push-headers", "X-Forwarded-Proto is believed", "request-headers.conf", bare()
    ),
    "a stranger's claim to see details is believed": Mistake(
        "push-headers",
        "X-Health-Details is believed",
        "request-headers.conf",
        snippet("request-headers.conf", "$sluice_health_details", "$http_x_health_details"),
        settings={"HEALTH_ALLOW": "192.0.2.1"},
    ),
    "a location without its last slash": Mistake(
        "split-site",
        "/channels reaches Daphne",
        "both slashes",
        bare("location /channels/ {", "location /channels {"),
    ),
    "a location for both cases": Mistake(
        "split-site",
        "/CHANNELS/ reaches Daphne",
        "both slashes",
        bare("location /channels/ {", "location ~* ^/channels/ {"),
    ),
    "the upgrade is not passed on to Daphne": Mistake(
        "push-upgrade", "a server without a WebSocket", "Upgrade", bare(UPGRADE_LINES, "")
    ),
    "sockets are cut": Mistake(
        "push-idle",
        "is cut after",
        "proxy_read_timeout",
        snippet("channels.conf", "proxy_read_timeout 90s", "proxy_read_timeout 4s"),
    ),
}


def place(house: House, side: str, port: int) -> Callable[[Nginx], None]:
    """The place file with another server's address."""
    right = house.ports[{"wsgi": "gunicorn", "asgi": "daphne"}[side]]
    return lambda nginx: nginx.edit_place({f"127.0.0.1:{right}": f"127.0.0.1:{port}"})


@pytest.mark.parametrize("mistake", MISTAKES)
def test_it_recognises(house: House, tmp_path: Path, mistake: str) -> None:
    wanted = MISTAKES[mistake]
    with house.front(tmp_path, wanted.change(house), **wanted.settings) as at:
        said = house.doctor("--at", at, "--only", wanted.check)
    found = said.of(wanted.check)
    assert (found["verdict"], said.code) == ("failed", 1), found
    assert wanted.message in found["message"] and wanted.fix in found["fix"], found


def test_nothing_listens_and_the_other_checks_are_skipped(house: House) -> None:
    said = house.doctor(
        "--at", "127.0.0.1:1", "--only", "front-answers", "front-pages", "split-site", "push-upgrade"
    )
    assert said.of("front-answers")["message"] == "127.0.0.1:1 does not answer: the connection is refused"
    assert {said.of(check)["verdict"] for check in ("front-pages", "split-site", "push-upgrade")} == {
        "skipped"
    }


def test_the_listener_speaks_no_http(house: House) -> None:
    said = house.doctor("--at", f"127.0.0.1:{house.rabbitmq.port}", "--only", "front-answers")
    why = said.of("front-answers")["message"].partition("does not answer: ")[2]
    assert why in ("the answer is not HTTP", "the connection is closed without an answer")


# ---- a proxy in front of it


UPGRADE_PASSED = (
    'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'
)


@contextlib.contextmanager
def proxied(house: House, folder: Path, at: str, lines: str) -> Iterator[str]:
    """Another proxy in front of ours."""
    text = f"location / {{ proxy_pass http://{at}; proxy_set_header Host $http_host; {lines} }}"
    with house.front(folder, own(text)(house)) as address:
        yield address


def test_a_proxy_in_front_drops_the_upgrade(house: House, front: str, tmp_path: Path) -> None:
    with proxied(house, tmp_path, front, "") as at:
        found = house.doctor("--at", at, "--only", "push-upgrade").of("push-upgrade")
    assert (
        found["message"] == "the upgrade does not reach nginx as an upgrade"
        and "proxy_http_version 1.1" in found["fix"]
    )


def test_a_proxy_in_front_has_a_shorter_timeout_than_the_doctor(
    house: House, front: str, tmp_path: Path
) -> None:
    with (
        proxied(house, tmp_path, front, f"proxy_read_timeout 1s; {UPGRADE_PASSED}") as at,
        house.paused("gunicorn"),
        house.paused("daphne"),
    ):
        said = house.doctor("--at", at, "--only", "front-pages", "push-upgrade")
    assert said.of("front-pages")["message"] == "Gunicorn accepts the connection and does not answer"
    assert said.of("push-upgrade")["message"] == "Daphne accepts the connection and does not answer"


def test_a_proxy_in_front_cuts_silent_connections(house: House, front: str, tmp_path: Path) -> None:
    with proxied(house, tmp_path, front, f"proxy_read_timeout 5s; {UPGRADE_PASSED}") as at:
        found = house.doctor("--at", at, "--only", "push-idle").of("push-idle")
    assert "each proxy and balancer in front" in found["fix"]


def test_an_address_with_too_many_connections(house: House, tmp_path: Path) -> None:
    """A client that ignores its close frame occupies its slot for a few seconds."""
    own = {"Origin": house.site_url, "Host": house.host, "Sec-WebSocket-Key": "c2x1aWNlLWRvY3Rvci0hIQ=="}
    with (
        house.front(tmp_path, CHANNELS_PER_ADDRESS="1") as at,
        socket.create_connection(("127.0.0.1", int(at.split(":")[1]))) as wire,
    ):
        wire.sendall(head("/channels/updates/", headers=UPGRADE | own))
        assert read_answer(wire).status == 101
        found = house.doctor("--at", at, "--only", "push-upgrade").of("push-upgrade")
    assert "too many connections" in found["message"] and "CHANNELS_PER_ADDRESS" in found["fix"]


# ---- its certificate


@dataclass(frozen=True)
class Certificate:
    verdict: str
    message: str
    trusted: bool = True
    name: str = "localhost"
    days: tuple[int, int] = (-1, 90)  # days from today


CERTIFICATES = {
    "trusted": Certificate("passed", "trusted, until"),
    "near its end": Certificate("warning", "the certificate ends on", days=(-80, 10)),
    "ended": Certificate("failed", "certificate has expired", days=(-90, -1)),
    "not begun": Certificate("failed", "certificate is not yet valid", days=(1, 90)),
    "another's": Certificate("failed", "Hostname mismatch", name="other.example"),
    "self-signed": Certificate("warning", "does not trust the certificate: self-signed", trusted=False),
}


@pytest.mark.parametrize("kind", CERTIFICATES)
def test_the_certificate(house: House, tmp_path: Path, kind: str) -> None:
    wanted = CERTIFICATES[kind]
    made = signed(tmp_path / "tls", wanted)

    def change(nginx: Nginx) -> None:
        nginx.edit_place(
            {
                "default_server backlog": "ssl default_server backlog",
                "include snippets/sluice/site.conf;": f"ssl_certificate {made}/site.pem;"
                f" ssl_certificate_key {made}/site.key; include snippets/sluice/site.conf;",
            }
        )

    url = "https://localhost"
    with house.front(tmp_path / "nginx", change, SITE_URL=url) as at:
        trust = {"SSL_CERT_FILE": f"{made}/ca.pem"} if wanted.trusted else {}
        said = house.doctor(
            url, "--at", at, "--only", "front-certificate", "front-answers", environment=trust
        )
    found = said.of("front-certificate")
    assert found["verdict"] == wanted.verdict and wanted.message in found["message"], found
    assert said.of("front-answers")["verdict"] == "passed"


def test_there_is_no_tls(house: House, front: str) -> None:
    found = house.doctor("https://localhost", "--at", front, "--only", "front-certificate").of(
        "front-certificate"
    )
    assert found["message"].startswith("no TLS: ") and "snippets/sluice/tls.conf" in found["fix"]


def signed(folder: Path, wanted: Certificate) -> Path:
    """Create ca.pem, site.pem and site.key with openssl."""
    folder.mkdir(parents=True)

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=30)

    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes")
    dates = [
        part
        for option, days in zip(("-not_before", "-not_after"), wanted.days, strict=True)
        for part in (option, date(days))
    ]
    if not wanted.trusted:
        openssl(*new, "-subj", "/CN=localhost", "-days", "90", "-keyout", "site.key", "-out", "site.pem")
        return folder
    openssl(
        *new,
        "-addext",
        "keyUsage=critical,keyCertSign",
        "-subj",
        "/CN=test",
        "-days",
        "90",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
    )
    openssl(
        *new, "-CA", "ca.pem", "-CAkey", "ca.key", "-subj", f"/CN={wanted.name}",
        "-addext", f"subjectAltName=DNS:{wanted.name}", "-addext", "basicConstraints=critical,CA:FALSE",
        *dates, "-keyout", "site.key", "-out", "site.pem",
    )  # fmt: skip
    return folder


def date(days: int) -> str:
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    return moment.strftime("%Y%m%d%H%M%SZ")
