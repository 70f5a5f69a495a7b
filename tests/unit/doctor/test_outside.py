"""What is wrong with nginx, or behind it, is recognised from outside: a real nginx with each mistake."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from unit.doctor.house import House

from config.nginx_lab import UPGRADE, Nginx, head, read_answer

# As the documentation of many projects has it.
BARE = """
    listen 127.0.0.1:$port default_server;
    proxy_set_header Host $http_host;
    location /channels/ {
        proxy_pass http://DAPHNE;
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
    }
    location / { proxy_pass http://GUNICORN; }
"""


def server(house: House, text: str) -> Callable[[Nginx], None]:
    """Somebody's own server instead of ours."""
    for name in ("gunicorn", "daphne"):
        text = text.replace(name.upper(), f"127.0.0.1:{house.ports[name]}")
    return lambda nginx: nginx.as_existing_site(text)


def snippet(name: str, old: str, new: str) -> Callable[[House], Callable[[Nginx], None]]:
    """A line of one of our snippets that is otherwise."""

    def change(nginx: Nginx) -> None:
        path = nginx.folder / "etc/snippets/sluice" / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return lambda house: change


def bare(old: str = "", new: str = "") -> Callable[[House], Callable[[Nginx], None]]:
    assert old in BARE
    return lambda house: server(house, BARE.replace(old, new) if old else BARE)


def own(text: str) -> Callable[[House], Callable[[Nginx], None]]:
    return lambda house: server(house, "listen 127.0.0.1:$port default_server;" + text)


def without_static_files(nginx: Nginx) -> None:
    shutil.rmtree(nginx.folder / "files/static")


@dataclass(frozen=True)
class Mistake:
    """How nginx is made; what is said of it, by which check, and what to change."""

    check: str
    says: str
    cure: str
    change: Callable[[House], Callable[[Nginx], None]] = lambda house: lambda nginx: None
    settings: dict[str, str] = field(default_factory=dict)


UPGRADE_LINES = """
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";"""

MISTAKES = {
    "nginx goes by another name": Mistake(
        "front-name", "goes by another name", "$sluice_names", settings={"SITE_URL": "http://other.example"}
    ),
    "another prefix": Mistake(
        "front-pages", "is not found", "URL_PREFIX", settings={"URL_PREFIX": "/elsewhere"}
    ),
    "Host is not passed on": Mistake(
        "front-name",
        "Django does not know the name",
        "proxy_set_header Host",
        bare("proxy_set_header Host $http_host;\n    location /c", "location /c"),
    ),
    "another server answers": Mistake(
        "front-pages",
        "something else answers",
        "sites-enabled/default",
        own("location / { return 200 Welcome; }"),
    ),
    "all is redirected": Mistake(
        "front-answers",
        "leads on to https://there",
        "ask there",
        own("return 301 https://there$request_uri;"),
    ),
    "Daphne serves the pages": Mistake(
        "front-pages",
        "Daphne is asked for pages",
        "$sluice_wsgi",
        lambda house: place(house, "wsgi", "daphne"),
    ),
    "everything is Daphne's": Mistake(
        "split-site",
        "/accounts/login/ reaches Daphne",
        "channels.conf",
        lambda house: place(house, "wsgi", "daphne"),
    ),
    "no static files": Mistake(
        "front-static", "is answered 404", "collectstatic", lambda house: without_static_files
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
    "a bare location: spellings": Mistake(
        "split-imitations", "/%63hannels/updates/ reaches Daphne", "channels.conf", bare()
    ),
    "a bare location: bodies": Mistake("split-bodies", "a POST below /channels/", "channels.conf", bare()),
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
        "push-upgrade", "something that is no WebSocket", "Upgrade", bare(UPGRADE_LINES, "")
    ),
    "sockets are cut": Mistake(
        "push-idle",
        "is cut within",
        "proxy_read_timeout",
        snippet("channels.conf", "proxy_read_timeout 90s", "proxy_read_timeout 4s"),
    ),
}


def place(house: House, side: str, program: str) -> Callable[[Nginx], None]:
    """The place file with the wrong program's address."""
    right = {"wsgi": "gunicorn", "asgi": "daphne"}[side]
    return lambda nginx: nginx.edit_place(
        {f"127.0.0.1:{house.ports[right]}": f"127.0.0.1:{house.ports[program]}"}
    )


@pytest.mark.parametrize("mistake", MISTAKES)
def test_it_recognises(house: House, tmp_path: Path, mistake: str) -> None:
    wanted = MISTAKES[mistake]
    with house.front(tmp_path, wanted.change(house), **wanted.settings) as at:
        said = house.doctor("--at", at, "--only", wanted.check)
    found = said.of(wanted.check)
    assert (found["verdict"], said.code) == ("failure", 1), found
    assert wanted.says in found["says"] and wanted.cure in found["cure"], found


def test_nobody_listens_and_the_rest_is_spared(house: House) -> None:
    said = house.doctor(
        "--at", "127.0.0.1:1", "--only", "front-answers", "front-pages", "split-site", "push-upgrade"
    )
    assert said.of("front-answers")["says"] == "127.0.0.1:1 gives no answer: the connection is refused"
    assert {said.of(check)["verdict"] for check in ("front-pages", "split-site", "push-upgrade")} == {
        "left out"
    }


def test_somebody_listens_who_speaks_no_http(house: House) -> None:
    said = house.doctor("--at", f"127.0.0.1:{house.rabbitmq.port}", "--only", "front-answers")
    why = said.of("front-answers")["says"].partition("gives no answer: ")[2]
    assert why in ("the answer is not HTTP", "the connection is closed without an answer")


# ---- the programs behind it


def test_gunicorn_is_gone(house: House, front: str) -> None:
    with house.without("gunicorn"):
        found = house.doctor("--at", front, "--only", "front-pages").of("front-pages")
    assert found["says"] == "Gunicorn isn't there" and "$sluice_wsgi" in found["cure"]


def test_gunicorn_stands_still_and_nobody_waits_for_long(house: House, front: str) -> None:
    with house.paused("gunicorn"):
        said = house.doctor(
            "--at", front, "--only", "front-answers", "front-name", "front-pages", "split-site"
        )
    assert said.of("front-answers")["verdict"] == "ok"
    assert said.of("front-pages")["says"] == "a page gets no answer: no answer within 8 s"
    assert said.of("split-site")["verdict"] == "left out"


def test_gunicorn_was_not_restarted_after_the_name_changed(house: House, tmp_path: Path) -> None:
    url = "http://new.example"
    with house.front(tmp_path, SITE_URL=url) as at:
        said = house.doctor(
            url, "--at", f"http://{at}", "--only", "front-name", "push-upgrade", "settings-address"
        )
    assert "Gunicorn be restarted" in said.of("front-name")["cure"]
    assert "does not take the page's Origin" in said.of("push-upgrade")["says"]
    assert "restart Daphne" in said.of("push-upgrade")["cure"]
    assert f"not {url}" in said.of("settings-address")["says"]


def test_gunicorn_is_not_told_of_https(house: House, tmp_path: Path) -> None:
    url = "https://localhost"
    with (
        house.restarted("gunicorn", SITE_URL=url),
        house.front(
            tmp_path, lambda nginx: nginx.edit_place({"default https": "default http"}), SITE_URL=url
        ) as at,
    ):
        said = house.doctor(
            url,
            "--at",
            f"http://{at}",
            "--only",
            "front-pages",
            "front-certificate",
            environment={"SITE_URL": url},
        )
    assert "$sluice_scheme" in said.of("front-pages")["cure"]
    assert said.of("front-certificate")["says"] == "a proxy in front does the TLS"


def test_the_site_is_served_under_any_name(house: House, tmp_path: Path) -> None:
    (house.app / "anybody.py").write_text('from mysite.settings import *\n\nALLOWED_HOSTS = ["*"]\n')
    with (
        house.restarted("gunicorn", DJANGO_SETTINGS_MODULE="anybody"),
        house.front(tmp_path, bare()(house)) as at,
    ):
        said = house.doctor("--at", at, "--only", "front-name")
    assert "ALLOWED_HOSTS" in said.of("front-name")["cure"]


def test_daphne_is_gone(house: House, front: str) -> None:
    with house.without("daphne"):
        said = house.doctor(
            "--at", front, "--only", "push-upgrade", "push-hello", "push-health", "push-origin"
        )
    assert said.of("push-upgrade")["says"] == said.of("push-health")["says"] == "Daphne isn't there"
    assert said.of("push-hello")["says"] == said.of("push-origin")["says"]
    assert "see push-upgrade" in said.of("push-hello")["says"]


def test_daphne_stands_still(house: House, front: str) -> None:
    with house.paused("daphne"):
        said = house.doctor(
            "--at", front, "--only", "push-upgrade", "push-hello", "push-origin", "push-headers"
        )
    assert said.of("push-upgrade")["says"] == "the handshake gets no answer: no answer within 8 s"
    assert said.of("push-headers")["verdict"] == "left out"


def test_daphne_has_no_more_files(house: House, front: str) -> None:
    with house.restarted("daphne", "prlimit", "--nofile=48"), contextlib.ExitStack() as held:
        for _ in range(60):
            held.enter_context(socket.create_connection(("127.0.0.1", house.ports["daphne"])))
        said = house.doctor("--at", front, "--only", "push-upgrade", "open-files")
    assert said.of("push-upgrade")["verdict"] == "failure" and "open-files" in said.of("push-upgrade")["cure"]
    assert "48 files may be open" in said.of("open-files", "Daphne")["says"]
    assert "minfds" in said.of("open-files", "Daphne")["cure"]


def test_daphne_goes_by_another_name(house: House, front: str) -> None:
    with house.restarted("daphne", SITE_URL="http://old.example"):
        found = house.doctor("--at", front, "--only", "push-upgrade").of("push-upgrade")
    assert "does not take the page's Origin" in found["says"] and "SITE_URL" in found["cure"]


def test_daphne_has_another_key(house: House, front: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 64)
    with house.restarted("daphne", SECRET_KEY_FILE=str(tmp_path / "key")):
        found = house.doctor("--at", front, "--only", "push-hello").of("push-hello")
    assert "does not know a session" in found["says"] and "SECRET_KEY_FILE" in found["cure"]


def test_daphne_is_without_its_database_or_its_broker_or_both(house: House, front: str) -> None:
    without = (
        {"DATABASE_URL": "postgresql://asgi@127.0.0.1:1/sluice"},
        {"LAYER_URL": "amqp://layer@127.0.0.1:1/asgi"},
    )
    with house.restarted("daphne", is_well=False, **without[0]):
        found = house.doctor("--at", front, "--only", "push-hello").of("push-hello")
        assert found["says"] == "Daphne can't reach its database"
    with house.restarted("daphne", is_well=False, **without[1]):
        said = house.doctor("--at", front, "--only", "push-hello", "push-health")
        assert said.of("push-hello")["verdict"] == "ok"
        assert (said.of("push-health")["verdict"], said.code) == ("warning", 0)
        assert "the layer carries none" in said.of("push-health")["says"]
    with house.restarted("daphne", is_well=False, **without[0], **without[1]):
        found = house.doctor("--at", front, "--only", "push-health").of("push-health")
        assert (found["verdict"], "is deaf" in found["says"]) == ("failure", True)


def test_other_sites_pages_are_let_in(house: House, front: str) -> None:
    (house.app / "hospitable.py").write_text(
        'from mysite.settings import *\n\nCSRF_TRUSTED_ORIGINS = ["https://*.invalid"]\n'
    )
    with house.restarted("daphne", DJANGO_SETTINGS_MODULE="hospitable"):
        found = house.doctor("--at", front, "--only", "push-origin").of("push-origin")
    assert "a foreign page may open a WebSocket" in found["says"] and "CSRF_TRUSTED_ORIGINS" in found["cure"]


def test_daphne_falls_silent(house: House, front: str) -> None:
    """After its hello: no ping comes."""
    doctor = subprocess.Popen(
        [sys.executable, "manage.py", "doctor", "--at", front, "--only", "push-idle"],
        cwd=house.app,
        env=house.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert doctor.stdout is not None
    assert doctor.stdout.readline().startswith("ok        push-hello")
    pid = house.programs["daphne"].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        output, _ = doctor.communicate(timeout=60)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert "failure   push-idle: Daphne does not ping: 30 s went by without a frame" in output


# ---- what stands in front of it


@contextlib.contextmanager
def proxied(house: House, folder: Path, at: str, lines: str) -> Iterator[str]:
    """Another proxy in front of ours."""
    text = f"location / {{ proxy_pass http://{at}; proxy_set_header Host $http_host; {lines} }}"
    with house.front(folder, own(text)(house)) as address:
        yield address


def test_a_proxy_in_front_drops_the_upgrade(house: House, front: str, tmp_path: Path) -> None:
    with proxied(house, tmp_path, front, "") as at:
        found = house.doctor("--at", at, "--only", "push-upgrade").of("push-upgrade")
    assert found["says"] == "the upgrade does not arrive as one" and "proxy_http_version 1.1" in found["cure"]


def test_a_proxy_in_front_cuts_what_is_silent(house: House, front: str, tmp_path: Path) -> None:
    lines = (
        "proxy_http_version 1.1; proxy_read_timeout 5s;"
        ' proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'
    )
    with proxied(house, tmp_path, front, lines) as at:
        found = house.doctor("--at", at, "--only", "push-idle").of("push-idle")
    assert "each proxy and balancer in front" in found["cure"]


def test_an_address_with_too_many_connections(house: House, tmp_path: Path) -> None:
    """One that ignores its close frame holds its place for a few seconds."""
    own = {"Origin": house.site_url, "Host": house.host, "Sec-WebSocket-Key": "c2x1aWNlLWRvY3Rvci0hIQ=="}
    with (
        house.front(tmp_path, CHANNELS_PER_ADDRESS="1") as at,
        socket.create_connection(("127.0.0.1", int(at.split(":")[1]))) as wire,
    ):
        wire.sendall(head("/channels/updates/", headers=UPGRADE | own))
        assert read_answer(wire).status == 101
        found = house.doctor("--at", at, "--only", "push-upgrade").of("push-upgrade")
    assert "too many connections" in found["says"] and "CHANNELS_PER_ADDRESS" in found["cure"]


# ---- its certificate


@dataclass(frozen=True)
class Certificate:
    verdict: str
    says: str
    trusted: bool = True
    name: str = "localhost"
    days: tuple[int, int] = (-1, 90)  # from today


CERTIFICATES = {
    "trusted": Certificate("ok", "trusted, until"),
    "near its end": Certificate("warning", "it ends on", days=(-80, 10)),
    "ended": Certificate("failure", "certificate has expired", days=(-90, -1)),
    "another's": Certificate("failure", "Hostname mismatch", name="other.example"),
    "self-signed": Certificate("warning", "does not trust it: self-signed", trusted=False),
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
    assert found["verdict"] == wanted.verdict and wanted.says in found["says"], found
    assert said.of("front-answers")["verdict"] == "ok"


def signed(folder: Path, wanted: Certificate) -> Path:
    """ca.pem, site.pem and site.key, by openssl."""
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
