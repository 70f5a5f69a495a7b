"""The routing table of docs/reference/the-split.md, row by row, at / and below a prefix. The evidence is
X-Backend, which each backend sets itself.
"""

from __future__ import annotations

import json
import secrets

import pytest

from harness import raw
from harness.raw import UPGRADE, Answer
from harness.target import Target
from harness.waiting import wait_until

DJANGO_PATHS = (
    "/",
    "/admin/",
    "/accounts/login/",
    "/messages/",
    "/volumes/",
    "/updates/",
    "/healthz",
    "/readyz",
)

# Paths that normalise to {prefix}/channels/ but differ from it. `{p}` is the prefix.
IMITATIONS = (
    "/{p}/channels/",
    "{p}//channels/",
    "{p}///channels/updates/",
    "{p}/%63hannels/updates/",
    "{p}/channel%73/updates/",
    "{p}/x/../channels/updates/",
    "{p}/./channels/updates/",
    "{p}/channels%2fupdates/",
    "{p}/channels%2Fupdates/sse",
    "{p}/x/%2e%2e/channels/healthz",
    "//{p}/channels/updates/",
)
GUNICORNS = (
    "{p}/",
    "{p}/channels",
    "{p}/channels?x=/channels/",
    "{p}/CHANNELS/",
    "{p}/Channels/updates/",
    "{p}/channelsx/",
    "{p}/channels/../admin/",
    "{p}/channels/updates/../../admin/",
    "{p}/channels/%2e%2e/admin/",
    "{p}/admin/",
    "{p}/updates/",
    "{p}/no-such-page/",
    "{p}/static/../admin/",
)


def is_from(answer: Answer, status: int, backend: str) -> bool:
    """Whether status and backend match. Used in an assert, so that pytest shows both."""
    return (answer.status, answer.backend) == (status, backend)


@pytest.mark.parametrize(
    "target",
    [
        "/channels/updates/",
        "/channels/updates/?since=all/0-0",
        "/channels/%75pdates/",
        "/channels/x/../updates/",
    ],
)
def test_an_upgrade_below_channels_is_daphnes(site: Target, target: str) -> None:
    assert raw.upgrade(site.port, site.prefix + target).backend == "asgi"


@pytest.mark.parametrize(
    "headers",
    [
        {"Upgrade": "WebSocket"},
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": "upgrade"},
        {"Content-Length": "0"},
    ],
)
def test_an_upgrade_may_be_spelled_as_the_standard_allows(site: Target, headers: dict[str, str]) -> None:
    assert is_from(raw.upgrade(site.port, f"{site.prefix}/channels/updates/", headers), 101, "asgi")


@pytest.mark.parametrize(
    "target", ["/channels/updates/sse", "/channels/updates/sse?streams=all", "/channels/healthz"]
)
def test_events_and_health_are_daphnes(site: Target, target: str) -> None:
    assert is_from(raw.get(site.port, site.prefix + target), 200, "asgi")


def test_details_of_health_are_for_allowed_networks(site: Target) -> None:
    outside = raw.get(site.port, f"{site.prefix}/channels/healthz")
    inside = _inside(site, "nginx", f"{site.prefix}/channels/healthz")  # HEALTH_ALLOW's default
    assert outside.status == inside.status == 200
    assert set(json.loads(outside.body)) == {"status"} < set(json.loads(inside.body))


@pytest.mark.parametrize(
    "target",
    [
        "/channels/",
        "/channels/updates/",
        "/channels/admin/",
        "/channels/updates/sse/",
        "/channels/updates/../healthz",
        "/channels//healthz",
        "/channels/%68ealthz",
        "/channels/updates/ss%65",
    ],
)
def test_a_plain_get_below_channels_is_426(site: Target, target: str) -> None:
    answer = raw.get(site.port, site.prefix + target)
    assert is_from(answer, 426, "nginx") and answer.headers["upgrade"] == "websocket"


@pytest.mark.parametrize(
    "headers",
    [
        {"Upgrade": "h2c"},
        {"Upgrade": "websocket, h2c"},
        {"Connection": "close"},
        {"Connection": "upgraded"},
        {"Upgrade": ""},
    ],
)
def test_half_an_upgrade_is_426(site: Target, headers: dict[str, str]) -> None:
    assert is_from(raw.upgrade(site.port, f"{site.prefix}/channels/updates/", headers), 426, "nginx")


def test_two_upgrade_headers_are_426(site: Target) -> None:
    """nginx before 1.23 reads only the first header, and forwards only that to Daphne."""
    line = f"GET {site.prefix}/channels/updates/ HTTP/1.1"
    answer = _send(site, line, **UPGRADE | {"upgrade": "websocket", "Origin": site.origin})
    assert is_from(answer, 426, "nginx") if site.nginx_version >= (1, 23) else is_from(answer, 101, "asgi")


def test_an_upgrade_by_http_1_0_is_426(site: Target) -> None:
    assert is_from(_send(site, f"GET {site.prefix}/channels/updates/ HTTP/1.0", **UPGRADE), 426, "nginx")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "BREW"])
@pytest.mark.parametrize(
    "target", ["/channels/updates/", "/channels/updates/sse", "/channels/healthz", "/channels/x"]
)
def test_another_method_below_channels_is_405(site: Target, method: str, target: str) -> None:
    answer = raw.get(site.port, site.prefix + target, method=method)
    assert is_from(answer, 405, "nginx") and answer.headers["allow"] == "GET"


@pytest.mark.parametrize("target", ["/channels/updates/", "/channels/updates/sse", "/channels/healthz"])
@pytest.mark.parametrize("upgrade", [{}, UPGRADE], ids=["plain", "upgrade"])
@pytest.mark.parametrize(
    ("header", "body"), [({"Content-Length": "2"}, b"{}"), ({"Transfer-Encoding": "chunked"}, b"0\r\n\r\n")]
)
def test_a_body_below_channels_is_413(
    site: Target, target: str, upgrade: dict[str, str], header: dict[str, str], body: bytes
) -> None:
    assert is_from(
        raw.get(site.port, site.prefix + target, headers=upgrade | header, body=body), 413, "nginx"
    )


@pytest.mark.parametrize("target", IMITATIONS)
@pytest.mark.parametrize("ask", [raw.get, raw.upgrade], ids=["plain", "upgrade"])
def test_what_only_normalises_to_channels_is_404(site: Target, target: str, ask: object) -> None:
    assert callable(ask)
    assert is_from(ask(site.port, target.format(p=site.prefix)), 404, "nginx")


@pytest.mark.parametrize("target", GUNICORNS)
@pytest.mark.parametrize("ask", [raw.get, raw.upgrade], ids=["plain", "upgrade"])
def test_everything_else_is_gunicorns_upgrades_included(site: Target, target: str, ask: object) -> None:
    assert callable(ask)
    answer = ask(site.port, target.format(p=site.prefix))
    assert answer.backend == "wsgi" and answer.status in (200, 301, 302, 401, 404), answer


# Requests for a second ASGI prefix (method, path, headers), and their result (status, server). Where it isn't
# an ASGI prefix, all of them are Gunicorn's.
SECOND: tuple[tuple[str, str, dict[str, str], int, str], ...] = (
    ("GET", "/ws/status/", UPGRADE, 404, "asgi"),
    ("GET", "/ws/admin/", UPGRADE, 404, "asgi"),
    ("GET", "/ws/channels/updates/", UPGRADE, 404, "asgi"),
    ("GET", "/ws/x/../status/?a=b", UPGRADE, 404, "asgi"),
    ("GET", "/ws/", {}, 426, "nginx"),
    ("GET", "/ws/healthz", {}, 426, "nginx"),
    ("GET", "/ws/updates/sse", {}, 426, "nginx"),
    ("POST", "/ws/status/", UPGRADE, 405, "nginx"),
    ("HEAD", "/ws/", {}, 405, "nginx"),
    ("GET", "/ws/status/", UPGRADE | {"Transfer-Encoding": "chunked"}, 413, "nginx"),
    ("GET", "//ws/status/", UPGRADE, 404, "nginx"),
    ("GET", "/%77s/status/", UPGRADE, 404, "nginx"),
    ("GET", "/x/../ws/status/", UPGRADE, 404, "nginx"),
    ("GET", "/ws%2fstatus/", UPGRADE, 404, "nginx"),
)


@pytest.mark.parametrize(("method", "path", "headers", "status", "server"), SECOND)
def test_a_second_asgi_prefix_has_the_same_table(
    site: Target, method: str, path: str, headers: dict[str, str], status: int, server: str
) -> None:
    body = b"0\r\n\r\n" if "Transfer-Encoding" in headers else b""
    answer = raw.get(site.port, site.prefix + path, method=method, headers=headers, body=body)
    if "/ws/" in site.asgi_prefixes:
        assert is_from(answer, status, server)
    else:
        assert answer.backend == "wsgi"


@pytest.mark.parametrize("target", ["/ws", "/wsx/", "/WS/", "/ws/../admin/", "/ws/%2e%2e/updates/"])
@pytest.mark.parametrize("ask", [raw.get, raw.upgrade], ids=["plain", "upgrade"])
def test_what_only_resembles_a_second_asgi_prefix_is_gunicorns(
    site: Target, target: str, ask: object
) -> None:
    assert callable(ask)
    assert ask(site.port, site.prefix + target).backend == "wsgi"


@pytest.mark.parametrize("target", ["/ws/../channels/updates/", "/channels/../ws/", "/ws/..%2fchannels/"])
def test_no_asgi_prefix_imitates_another(site: Target, target: str) -> None:
    answer = raw.upgrade(site.port, site.prefix + target)
    imitates = "/ws/" in site.asgi_prefixes or target.endswith(("updates/", "channels/"))
    assert is_from(answer, 404, "nginx" if imitates else "wsgi")


@pytest.mark.parametrize("probe", ["/healthz", "/readyz"])
def test_probes_carry_no_prefix(site: Target, probe: str) -> None:
    assert is_from(raw.get(site.port, probe), 200, "wsgi")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "localhost.evil.example", "xlocalhost", "localhost@evil"]
)
@pytest.mark.parametrize("target", ["/", "/channels/updates/", "/%63hannels/", "/admin/", "/healthz"])
def test_another_host_is_421_and_the_setting_is_named(site: Target, host: str, target: str) -> None:
    answer = raw.get(site.port, site.prefix + target, headers=UPGRADE | {"Host": host})
    assert is_from(answer, 421, "nginx") or (answer.status == 400 and "@" in host)
    assert answer.status == 400 or b"SITE_URL" in answer.body


def test_another_host_in_the_request_line_is_421(site: Target) -> None:
    assert is_from(
        _send(site, f"GET http://evil.example{site.prefix}/channels/updates/ HTTP/1.1"), 421, "nginx"
    )


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_421_precedes_routing(site: Target, method: str) -> None:
    answer = raw.get(site.port, f"{site.prefix}/channels/", method=method, headers={"Host": "evil.example"})
    assert is_from(answer, 421, "nginx")


@pytest.mark.parametrize(
    "line", ["GET {p}/channels/%00 HTTP/1.1", "GET {p}/channels/%zz HTTP/1.1", "GET  HTTP/1.1"]
)
@pytest.mark.parametrize("host", ["localhost", "evil.example"])
def test_400_precedes_421(site: Target, line: str, host: str) -> None:
    assert _send(site, line.format(p=site.prefix), Host=host).status == 400


def test_a_request_without_a_host_or_with_two_is_400(site: Target) -> None:
    line = f"GET {site.prefix}/channels/updates/ HTTP/1.1"
    assert raw.request(site.port, f"{line}\r\nConnection: close\r\n\r\n".encode()).status == 400
    assert _send(site, line, Host="localhost", host="localhost").status == 400


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/admin/",
        "/channels/updates/",
        "/channels/updates/sse",
        "/catmaidx/",
        "/xcatmaid/channels/",
        "/static/x",
    ],
)
@pytest.mark.parametrize("ask", [raw.get, raw.upgrade], ids=["plain", "upgrade"])
def test_outside_the_prefix_is_404(site: Target, target: str, ask: object) -> None:
    assert callable(ask)
    if site.prefix:
        assert is_from(ask(site.port, target), 404, "nginx")
    else:
        assert ask(site.port, target).backend in ("wsgi", "asgi", "nginx")


@pytest.mark.parametrize("path", DJANGO_PATHS)
def test_no_page_of_django_is_served_by_daphne(site: Target, path: str) -> None:
    for target in (path, f"/channels{path}", site.prefix + path):
        answer = _inside(site, "asgi", target)
        served = answer.status == 404 or (target == "/channels/healthz" and answer.status == 200)
        assert served and answer.backend == "asgi" and b"csrf" not in answer.body.lower(), (target, answer)


def test_no_socket_is_served_by_gunicorn(site: Target) -> None:
    answer = _inside(site, "wsgi", "/channels/updates/", UPGRADE)
    assert is_from(answer, 404, "wsgi")


@pytest.mark.parametrize(("target", "side"), [("/channels/updates/", "asgi"), ("/no-such-page/", "wsgi")])
def test_the_logs_agree(site: Target, target: str, side: str) -> None:
    """nginx's log names the upstream's address, and no other backend's log has the mark."""
    mark = secrets.token_hex(8)
    assert raw.upgrade(site.port, f"{site.prefix}{target}?{mark}").backend == side
    line = wait_until(lambda: _line_with(site, mark), 10, "nginx's line, written when the socket is closed")
    assert f'upstream="{site.upstream(side)}"' in line
    assert mark not in site.log_of({"asgi": "wsgi", "wsgi": "asgi"}[side])


def test_what_a_client_claims_about_the_proxy_is_overwritten(site: Target) -> None:
    claims = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Daphne-Root-Path": "/evil"}
    answer = raw.get(site.port, f"{site.prefix}/accounts/login/", headers=claims)
    assert (
        answer.status == 200
        and b"evil" not in answer.body
        and "secure" not in answer.headers["set-cookie"].lower()
    )
    assert is_from(raw.upgrade(site.port, f"{site.prefix}/channels/updates/", claims), 101, "asgi")


def test_redirects_keep_the_port_and_the_prefix(site: Target) -> None:
    location = raw.get(site.port, f"{site.prefix}/admin/").headers["location"]
    assert location.startswith((f"{site.prefix}/", f"{site.url}/"))


def test_static_files_are_nginxs_and_hashed_ones_are_kept_for_a_year(site: Target) -> None:
    page = raw.get(site.port, f"{site.prefix}/accounts/login/").body.decode()
    hashed = next(part for part in page.split('"') if part.startswith(f"{site.prefix}/static/"))
    answer = raw.get(site.port, hashed)
    assert is_from(answer, 200, "nginx") and "max-age=31536000" in answer.headers["cache-control"]


def _send(site: Target, line: str, **headers: str) -> Answer:
    """Send a request line and headers exactly as given. Names use underscores for hyphens and keep their
    case; Host is added if it is missing.
    """
    sent = {"Host": f"localhost:{site.port}"} | headers if "Host" not in headers else headers
    lines = [
        line,
        *(f"{name.replace('_', '-')}: {value}" for name, value in sent.items()),
        "Connection: close",
    ]
    if "Connection" in headers:
        lines.pop()
    return raw.request(site.port, "\r\n".join(lines).encode() + b"\r\n\r\n")


def _inside(site: Target, who: str, target: str, headers: dict[str, str] | None = None) -> Answer:
    """Send a request to a backend directly from nginx's machine, past nginx."""
    sent = {"Host": f"localhost:{site.port}", "Connection": "close", "X-Forwarded-Proto": "http"} | (
        headers or {}
    )
    request = (
        f"GET {target} HTTP/1.1\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        + "\r\n"
    )
    return raw.parse(site.ask_directly(who, request))


def _line_with(site: Target, mark: str) -> str:
    return "".join(line for line in site.log_of("nginx").splitlines() if mark in line)
