"""The headers that backends and clients receive, and what the log contains."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from config.nginx_lab import UPGRADE, Nginx, Probe, Received, exchange, head, lab
from harness.waiting import wait_until

Site = tuple[Nginx, Probe, Probe]

INVENTED = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Real-IP": "6.6.6.6",
    "X-Forwarded-Proto": "gopher",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Server": "evil.example",
    "X-Forwarded-Ssl": "on",
    "X-Forwarded-Protocol": "ssl",
    "X-Forwarded-Scheme": "https",
    "X-Url-Scheme": "https",
    "X-Script-Name": "/evil",
    "X-Original-URL": "/evil",
    "X-Rewrite-URL": "/evil",
    "Forwarded": "for=6.6.6.6;host=evil.example",
    "Daphne-Root-Path": "/evil",
    "Proxy": "http://evil.example",
    "X-Request-ID": "evil",
    "X-Health-Details": "evil",
    "SCRIPT_NAME": "/evil",
    "X_FORWARDED_FOR": "6.6.6.6",
    "Daphne_Root_Path": "/evil",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with lab(
        tmp_path_factory.mktemp("nginx"), URL_PREFIX="/catmaid", ASGI_PREFIXES="/channels/ /ws/"
    ) as running:
        yield running


@pytest.mark.parametrize(
    "path",
    ["/catmaid/admin/", "/catmaid/channels/healthz", "/catmaid/channels/updates/", "/catmaid/ws/status/"],
)
def test_a_clients_word_on_itself_is_overwritten_or_taken_out(site: Site, path: str) -> None:
    nginx, wsgi, asgi = site
    exchange(
        nginx.port,
        head(
            path,
            headers=UPGRADE | INVENTED | {"Host": "localhost:8080", "Cookie": "a=b", "Origin": "http://x"},
        ),
    )
    received = Received.parse((wsgi if "admin" in path else asgi).heads[-1])
    told = {name: received.all(name) for name in INVENTED}
    request_id = told.pop("X-Request-ID")
    assert len(request_id) == 1
    assert re.fullmatch("[0-9a-f]{32}", request_id[0])
    assert {name: values for name, values in told.items() if values} == {
        "X-Forwarded-For": ["127.0.0.1"],
        "X-Real-IP": ["127.0.0.1"],
        "X-Forwarded-Proto": ["http"],
        "X-Forwarded-Host": ["localhost:8080"],
        "X-Health-Details": ["yes"],
    }
    assert (received.all("Host"), received.all("Cookie"), received.all("Origin")) == (
        ["localhost:8080"],
        ["a=b"],
        ["http://x"],
    )
    assert received.version == "HTTP/1.1"


@pytest.mark.parametrize("path", ["/catmaid/channels/updates/", "/catmaid/ws/status/"])
def test_daphne_gets_exactly_the_handshake(site: Site, path: str) -> None:
    nginx, _, asgi = site
    nginx.upgrade(
        path,
        Connection="keep-alive, Upgrade",
        Upgrade="WebSocket",
        **{"Content-Length": "0"},
    )
    received = Received.parse(asgi.heads[-1])
    assert (received.all("Upgrade"), received.all("Connection"), received.all("Content-Length")) == (
        ["websocket"],
        ["upgrade"],
        [],
    )
    assert received.all("Sec-WebSocket-Key") == [UPGRADE["Sec-WebSocket-Key"]]
    nginx.upgrade("/catmaid/channels/healthz", Upgrade="h2c")
    received = Received.parse(asgi.heads[-1])
    assert (received.all("Upgrade"), received.all("Connection")) == ([], ["close"])


def test_only_allowed_networks_are_shown_the_details_of_health(tmp_path: pytest.TempPathFactory) -> None:
    with lab(tmp_path, HEALTH_ALLOW="10.0.0.0/8, 2001:db8::/32") as (nginx, _, _):  # type: ignore[arg-type]
        assert nginx.send("/channels/healthz").received.all("X-Health-Details") == []


def test_a_backends_own_headers_stay_unchanged(site: Site) -> None:
    nginx, _, _ = site
    own = {
        "Content-Security-Policy": "default-src 'self'",
        "X-Frame-Options": "SAMEORIGIN",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Location": "http://localhost/x",
    }
    query = "&".join(f"header={name}:%20{value}".replace(" ", "%20") for name, value in own.items())
    answer = nginx.send(f"/catmaid/?{query}")
    assert {name: answer.one(name) for name in own} == own


@pytest.mark.parametrize(
    "path",
    [
        "/catmaid/",
        "/catmaid/?status=500",
        "/catmaid/channels/healthz",
        "/catmaid/channels/",
        "/nowhere",
        "/catmaid/static/none",
        "/catmaid/%",
    ],
)
def test_every_response_has_the_security_headers_once_and_no_version(site: Site, path: str) -> None:
    answer = site[0].send(path)
    assert (answer.one("X-Content-Type-Options"), answer.one("Referrer-Policy"), answer.one("Server")) == (
        "nosniff",
        "same-origin",
        "nginx",
    )


def test_a_method_that_nginx_never_passes_on_is_answered_with_those_that_it_does(site: Site) -> None:
    answer = site[0].send("/catmaid/admin/", method="TRACE")
    assert (answer.status, answer.one("Allow")) == (405, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")


def test_a_redirect_keeps_the_port_that_the_client_used(site: Site) -> None:
    answer = site[0].send(
        "/catmaid/?status=302&header=Location:%20/catmaid/accounts/login/", headers={"Host": "localhost:8080"}
    )
    assert (answer.status, answer.one("Location")) == (302, "/catmaid/accounts/login/")


def test_the_backend_is_named_only_with_expose_backend(tmp_path: pytest.TempPathFactory) -> None:
    with lab(tmp_path, EXPOSE_BACKEND="no") as (nginx, _, _):  # type: ignore[arg-type]
        for path in ("/channels/", "/static/none", "//channels/", "/%"):
            assert nginx.send(path).made_by == ""


def test_a_request_is_one_line_of_the_log_whatever_it_holds(site: Site) -> None:
    nginx, _, _ = site
    nginx.send(
        '/catmaid/find-me?since=user:7/14-9f3ac1d20b7e4455&x="%0a\xff', headers={"User-Agent": 'a" b\x01'}
    )
    lines = wait_until(
        lambda: [line for line in nginx.log.splitlines() if "find-me" in line], 5, "the request in the log"
    )
    assert len(lines) == 1
    for part in (
        "route=wsgi",
        "since=user:7/14-9f3ac1d20b7e4455",
        'upstream="127.0.0.1:',
        " time=",
        'agent="a\\" b\\u0001"',
        " id=",
    ):
        assert part in lines[0]


def test_health_checks_are_not_logged_as_long_as_they_go_well(site: Site) -> None:
    nginx, _, _ = site
    for path in (
        "/healthz?quiet",
        "/readyz?quiet",
        "/catmaid/channels/healthz?quiet",
        "/healthz?loud&status=503",
        "/catmaid/marker",
    ):
        nginx.send(path)
    # Two workers write the log, so the last request may be there first.
    wait_until(lambda: "loud" in nginx.log and "/catmaid/marker" in nginx.log, 5, "both in the log")
    assert "quiet" not in nginx.log
