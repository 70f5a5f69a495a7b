"""The routing table, row by row, then hundreds of hostile spellings against a model, at three prefixes, for
/channels/ and for other ASGI prefixes.
"""

from __future__ import annotations

import collections
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import pytest

from config.nginx_lab import UPGRADE, Nginx, Probe, exchange, head, lab, version
from config.nginx_model import Request, hostile_requests, judge


@dataclass(frozen=True)
class Place:
    """A site's two prefixes, and the ASGI prefix under test."""

    prefix: str = ""
    root: str = "/channels/"
    asgi: tuple[str, ...] = ("/channels/",)

    def __str__(self) -> str:
        return f"{self.prefix}{self.root} of {' '.join(self.asgi)}"

    def imitation(self, spelling: str) -> str:
        """A spelling with the root's name, and with parts of it."""
        name = self.root[1:-1]
        first, last = (f"%{ord(letter):02x}" for letter in (name[0], name[-1]))
        return self.prefix + spelling.format(
            name=name, shout=name.upper(), first=first + name[1:], last=name[:-1] + last, up=up(self.root)
        )


def up(root: str) -> str:
    """The way from an ASGI prefix to the root of the site."""
    return "../" * (root.count("/") - 1)


Site = tuple[Place, Nginx, Probe, Probe]

# The last prefix, and the root /w.s/a~b-c/, contain characters that are special in a regular expression.
PLACES = (
    Place(),
    Place("/catmaid"),
    Place("/a.b/c~d-e"),
    Place("", "/ws/", ("/channels/", "/ws/")),
    Place("/catmaid", "/ws/", ("/ws/", "/channels/", "/xchannels/")),
    Place("/a.b/c~d-e", "/w.s/a~b-c/", ("/a.b/", "/w.s/a~b-c/", "/channels/")),
)


@pytest.fixture(scope="module", params=PLACES, ids=str)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place: Place = request.param
    settings = {"URL_PREFIX": place.prefix, "ASGI_PREFIXES": "  ".join(place.asgi)}
    with lab(tmp_path_factory.mktemp("nginx"), **settings) as (nginx, wsgi, asgi):
        yield place, nginx, wsgi, asgi


@pytest.mark.parametrize(
    "below",
    [
        "",
        "updates/",
        "updates/?since=all/0-0",
        "volumes/1/preview/",
        "?",
        "a//b",
        "%61",
        "x/..",
        "updates/sse",
        "healthz",
    ],
)
def test_an_upgrade_below_channels_is_daphnes(site: Site, below: str) -> None:
    place, nginx, _, asgi = site
    prefix, root = place.prefix, place.root
    answer = nginx.upgrade(f"{prefix}{root}{below}")
    assert (answer.status, answer.made_by) == (101, "asgi")
    assert asgi.heads[-1].startswith(f"GET {root}".encode())


@pytest.mark.parametrize("below", ["updates/sse", "updates/sse?since=all/0-0", "healthz", "healthz?"])
def test_sse_and_health_are_daphnes_without_an_upgrade(site: Site, below: str) -> None:
    place, nginx, _, _ = site
    prefix = place.prefix
    answer = nginx.send(f"{prefix}/channels/{below}")
    assert (answer.status, answer.made_by, answer.received.target) == (
        200,
        "asgi",
        f"/channels/{below.rstrip('?')}",
    )


@pytest.mark.parametrize(
    "below",
    [
        "",
        "updates/",
        "updates/sse/",
        "updates/%73se",
        "updates//sse",
        "updates/./sse",
        "x/../healthz",
        "healthz/",
        "healthz%3f",
        "HEALTHZ",
    ],
)
def test_a_plain_get_below_channels_has_to_upgrade(site: Site, below: str) -> None:
    place, nginx, _, _ = site
    prefix, root = place.prefix, place.root
    answer = nginx.send(f"{prefix}{root}{below}")
    assert (answer.status, answer.made_by, answer.one("Upgrade")) == (426, "nginx", "websocket")
    assert "upgrade" in answer.all("Connection")
    assert "WebSocket" in answer.text


@pytest.mark.parametrize("below", ["updates/sse", "healthz", "channels/healthz"])
def test_sse_and_health_are_below_no_other_asgi_prefix(site: Site, below: str) -> None:
    place, nginx, _, asgi = site
    for root in set(place.asgi) - {"/channels/"}:
        before = len(asgi.heads)
        answer = nginx.send(f"{place.prefix}{root}{below}")
        assert (answer.status, answer.made_by, len(asgi.heads)) == (426, "nginx", before)


@pytest.mark.parametrize(
    "method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "get"]
)
@pytest.mark.parametrize("below", ["", "updates/", "updates/sse", "healthz"])
def test_other_methods_below_channels_are_not_allowed(site: Site, method: str, below: str) -> None:
    place, nginx, _, _ = site
    prefix, root = place.prefix, place.root
    answer = exchange(nginx.port, head(f"{prefix}{root}{below}", method=method, headers=UPGRADE))
    assert (answer.status, answer.made_by) == ((400, "nginx") if method == "get" else (405, "nginx"))
    assert answer.status == 400 or answer.one("Allow") == "GET"


@pytest.mark.parametrize("below", ["updates/", "updates/sse", "healthz", "anything"])
@pytest.mark.parametrize(
    "body",
    [
        {"Content-Length": "5"},
        {"Content-Length": "99999999999"},
        {"Transfer-Encoding": "chunked"},
        {"Transfer-Encoding": "gzip"},
        {"Transfer-Encoding": "identity"},
    ],
    ids=lambda body: " ".join(body.values()),
)
def test_no_body_gets_below_channels(site: Site, below: str, body: dict[str, str]) -> None:
    place, nginx, _, asgi = site
    prefix, root = place.prefix, place.root
    before = len(asgi.heads)
    raw = head(f"{prefix}{root}{below}", headers=UPGRADE | body)
    answer = exchange(nginx.port, raw + (b"0\r\n\r\n" if "Transfer-Encoding" in body else b"hello"))
    assert (answer.status, answer.made_by) == (413, "nginx")
    assert answer.text == f"413: no body may be sent below {root}.\n"
    assert len(asgi.heads) == before


def test_the_method_is_judged_before_the_body_whatever_its_size(site: Site) -> None:
    place, nginx, _, _ = site
    prefix, root = place.prefix, place.root
    for length in ("5", "99999999999"):
        answer = nginx.send(f"{prefix}{root}updates/", method="POST", headers={"Content-Length": length})
        assert (answer.status, answer.made_by) == (405, "nginx")


@pytest.mark.parametrize(
    "spelling",
    [
        "//{name}/",
        "/{first}/",
        "/x/../{name}/",
        "/./{name}/",
        "/{name}%2fupdates/",
        "/%2e/{name}/",
        "/{last}/",
        "/{name}%2Fhealthz",
        "/.//{name}/updates/sse",
    ],
)
@pytest.mark.parametrize("upgrade", [True, False], ids=["upgrade", "plain"])
def test_paths_that_only_normalise_to_channels_are_not_found(
    site: Site, spelling: str, upgrade: bool
) -> None:
    place, nginx, _, _ = site
    path = place.imitation(spelling)
    answer = nginx.upgrade(path) if upgrade else nginx.send(path)
    assert (answer.status, answer.made_by) == (404, "nginx")


@pytest.mark.parametrize("upgrade", [True, False], ids=["upgrade", "plain"])
def test_a_path_of_one_asgi_prefix_that_normalises_to_another_is_not_found(site: Site, upgrade: bool) -> None:
    place, nginx, _, asgi = site
    for one, other in itertools.permutations(place.asgi, 2):
        for path in (f"{one}{up(one)}{other[1:]}updates/", f"{one}x/..%2f{up(one)}{other[1:]}"):
            asgi.heads.clear()
            answer = nginx.upgrade(place.prefix + path) if upgrade else nginx.send(place.prefix + path)
            assert (answer.status, answer.made_by, asgi.heads) == (404, "nginx", []), path


@pytest.mark.parametrize(
    "path",
    [
        "/{name}",
        "/{shout}/",
        "/{name}x/",
        "/{name}/{up}admin/",
        "/{name};x/",
        "/{name}%23/",
        "/{name}%3f/",
        "/{name}%252f",
        "/x/{name}/",
        "/",
        "/admin/",
        "/ws",
        "/wss/",
    ],
)
@pytest.mark.parametrize("upgrade", [True, False], ids=["upgrade", "plain"])
def test_everything_else_goes_to_gunicorn_and_upgrades_as_plain_requests(
    site: Site, path: str, upgrade: bool
) -> None:
    place, nginx, _, _ = site
    path = place.imitation(path)
    answer = nginx.upgrade(path) if upgrade else nginx.send(path)
    assert (answer.status, answer.made_by) == (200, "wsgi")
    assert answer.received.all("Upgrade") == []
    assert answer.received.all("Connection") == ["close"]


def test_a_path_that_is_no_asgi_prefix_is_gunicorns_whatever_its_name(site: Site) -> None:
    place, nginx, _, asgi = site
    for root in {"/ws/", "/a.b/", "/axb/", "/wxs/a~b-c/"} - set(place.asgi):
        before = len(asgi.heads)
        answer = nginx.upgrade(f"{place.prefix}{root}updates/")
        assert (answer.status, answer.made_by, len(asgi.heads)) == (200, "wsgi", before), root


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/healthz?x=1"])
def test_the_sites_health_needs_no_prefix(site: Site, path: str) -> None:
    place, nginx, _, _ = site
    prefix = place.prefix
    for spelling in (path, prefix + path):
        answer = nginx.send(spelling)
        assert (answer.status, answer.made_by, answer.received.target) == (200, "wsgi", path)


def test_outside_the_prefix_is_nowhere(site: Site) -> None:
    place, nginx, _, _ = site
    prefix = place.prefix
    for path in (
        "/",
        "/channels/updates/",
        "/admin/",
        "/healthz/",
        "/healthz%0a",
        "/static/x.js",
        prefix,
        prefix + "x/",
        prefix + "/../",
        prefix.upper() + "/",
    ):
        if prefix:
            answer = nginx.upgrade(path)
            assert (answer.status, answer.made_by) == (404, "nginx"), path
            assert f"{prefix}/" in answer.text


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "evil.example:8080",
        "xlocalhost",
        "localhost:80x",
        "localhost:",
        "127.0.0.1",
        "localhost|localhost",
        "[::1]",
    ],
)
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/admin/",
        "/channels/updates/",
        "/static/x",
        "/healthz",
        "//channels/",
        "/nowhere-near-the-prefix",
    ],
)
def test_the_response_to_a_foreign_host_names_the_setting(site: Site, host: str, path: str) -> None:
    place, nginx, _, _ = site
    prefix = place.prefix
    answer = nginx.upgrade(prefix + path, Host=host)
    assert (answer.status, answer.made_by) == (421, "nginx")
    assert "SITE_URL" in answer.text
    assert "localhost" in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost:8080", "localhost:1"])
def test_the_sites_own_host_is_known_with_any_port(site: Site, host: str) -> None:
    place, nginx, _, _ = site
    prefix = place.prefix
    answer = nginx.send(f"{prefix}/", headers={"Host": host})
    assert (answer.status, answer.received.all("Host")) == (200, [host])


def test_a_malformed_request_is_refused_before_a_foreign_host_and_both_before_routing(site: Site) -> None:
    place, nginx, _, _ = site
    prefix, root = place.prefix, place.root
    foreign = {"Host": "evil.example"}
    for method in ("POST", "TRACE"):
        assert nginx.send(f"{prefix}{root}", method=method, headers=foreign).status == 421
    assert nginx.send(f"{prefix}{root}", headers=foreign | {"Transfer-Encoding": "gzip"}).status == 421
    for malformed in (f"{prefix}{root}%", f"{prefix}{root}%00", "/..", "nothing"):
        assert nginx.send(malformed, headers=foreign).status == 400
    assert exchange(nginx.port, f"GET {prefix}{root} HTTP/1.1\r\n\r\n".encode()).status == 400


def test_a_request_line_that_names_a_host_counts_too(site: Site) -> None:
    place, nginx, _, _ = site
    prefix, root = place.prefix, place.root
    assert nginx.upgrade(f"http://localhost:99{prefix}{root}updates/").made_by == "asgi"
    assert nginx.upgrade(f"http://evil.example{prefix}{root}updates/").status == 421
    assert nginx.upgrade(f"http://localhost{prefix}{root}updates/", Host="evil.example").status == 421
    assert nginx.send("http://localhost").made_by == ("nginx" if prefix else "wsgi")
    assert nginx.upgrade(f"http://localhost//{prefix}{root}updates/").status == 404


def test_older_http_cannot_upgrade(site: Site) -> None:
    place, nginx, _, _ = site
    prefix, root = place.prefix, place.root
    answer = exchange(nginx.port, head(f"{prefix}{root}updates/", version="HTTP/1.0", headers=UPGRADE))
    assert (answer.status, answer.made_by) == (426, "nginx")
    answer = exchange(nginx.port, head(f"{prefix}/channels/updates/sse", version="HTTP/1.0"))
    assert (answer.status, answer.made_by) == (200, "asgi")
    without_host = exchange(
        nginx.port, head(f"{prefix}{root}updates/", version="HTTP/1.0", headers=UPGRADE | {"Host": ""})
    )
    assert (without_host.status, without_host.made_by) == (421, "nginx")
    assert exchange(nginx.port, f"GET {prefix}{root}updates/\r\n".encode()).body.startswith(b"421")


@pytest.mark.parametrize(
    ("connection", "upgrade", "status"),
    [
        ("Upgrade", "websocket", 101),
        ("upgrade", "WebSocket", 101),
        ("keep-alive, Upgrade", "WEBSOCKET", 101),
        ("x,\tUPGRADE ,y", "websocket", 101),
        ("Upgrade", "", 426),
        ("Upgrade", "h2c", 426),
        ("Upgrade", "websocket, h2c", 426),
        ("Upgrade", "websocket/13", 426),
        ("close", "websocket", 426),
        ("", "websocket", 426),
        ("upgraded", "websocket", 426),
        ("x-upgrade", "websocket", 426),
        ("x", "websocket|upgrade,", 426),
    ],
)
def test_what_counts_as_an_upgrade(site: Site, connection: str, upgrade: str, status: int) -> None:
    place, nginx, _, _ = site
    prefix, root = place.prefix, place.root
    answer = nginx.upgrade(f"{prefix}{root}updates/", Connection=connection, Upgrade=upgrade)
    assert answer.status == status


def test_two_upgrade_headers_are_none_and_two_connection_headers_are_one(site: Site) -> None:
    place, nginx, _, asgi = site
    prefix, root = place.prefix, place.root
    twice = head(f"{prefix}{root}updates/", headers=UPGRADE)[:-2] + b"Upgrade: websocket\r\n\r\n"
    split_up = head(f"{prefix}{root}updates/", headers=UPGRADE).replace(
        b"Connection: Upgrade", b"Connection: x\r\nConnection: Upgrade"
    )
    if version() >= (1, 23):  # an older nginx reads only the first header (docs/reference/the-split.md)
        assert exchange(nginx.port, twice).status == 426
        assert exchange(nginx.port, split_up).status == 101
    else:
        assert exchange(nginx.port, twice).status == 101
        assert exchange(nginx.port, split_up).status == 426
    assert all(len(re.findall(rb"(?i)\nupgrade:", sent)) <= 1 for sent in asgi.heads)


def test_a_url_of_seven_kibibytes_fits_and_a_longer_one_does_not(site: Site) -> None:
    place, nginx, _, _ = site
    prefix, root = place.prefix, place.root
    start = f"{prefix}{root}updates/?since="
    fits = start + "x" * (7 * 1024 - len(start))
    assert nginx.upgrade(fits, Cookie="c" * 8000).status == 101
    for longer in (fits + "x", fits + "x" * 5000, f"{prefix}/" + "x" * 20000):
        answer = nginx.upgrade(longer)
        assert (answer.status, answer.made_by) == (414, "nginx")


def test_a_wholly_decoded_path_reaches_gunicorn_as_one_path(site: Site) -> None:
    """nginx encodes again what it decoded: no % or ? of a path is interpreted twice, and no newline splits a
    request.
    """
    place, nginx, _, _ = site
    prefix = place.prefix
    for path in (
        "/%25",
        "/%2563hannels/",
        "/a%3fb",
        "/a%23b",
        "/%0d%0aX:%20y",
        "/%20",
        "/$uri",
        "/\\1",
        "/%ff",
        '/"%22<>',
        "/http://x",
        "/a?b=%3f&c=/channels/",
    ):
        answer = nginx.send(prefix + path)
        assert (answer.status, answer.made_by) == (200, "wsgi")
        sent_path, _, sent_query = answer.received.target.partition("?")
        expected_path, _, expected_query = path.replace("//", "/").partition("?")
        assert unquote_to_bytes(sent_path) == unquote_to_bytes(expected_path)
        assert sent_query == expected_query


@pytest.mark.parametrize("seed", ["sluice", "daphne"])
def test_a_request_reaches_daphne_exactly_if_the_table_routes_it_there(site: Site, seed: str) -> None:
    place, nginx, wsgi, asgi = site
    prefix = place.prefix
    wrong, seen = [], collections.Counter[str]()
    for request in hostile_requests(seed + str(place), prefix, 800, place.asgi):
        verdict = judge(request, prefix, asgi=place.asgi)
        wsgi.heads.clear()
        asgi.heads.clear()
        answer = exchange(nginx.port, _with_body(request))
        backends = {"wsgi": wsgi.heads, "asgi": asgi.heads}
        got = {name: [_path(sent) for sent in heads] for name, heads in backends.items() if heads}
        expected = {verdict.by: [verdict.path]} if verdict.by != "nginx" else {}
        if (
            answer.made_by != verdict.by
            or got != expected
            or (verdict.status and answer.status != verdict.status)
        ):
            wrong.append((request, verdict, answer.status, answer.made_by, got))
        seen[f"{verdict.by} {verdict.status or ''}"] += 1
    assert not wrong, f"{len(wrong)} of 800, the first:\n" + "\n".join(map(str, wrong[:5]))
    assert {"asgi ", "wsgi ", "nginx 404", "nginx 421", "nginx 426", "nginx 405", "nginx 413"} <= set(seen), (
        seen
    )


def _with_body(request: Request) -> bytes:
    return request.encode() + b"x" * sum(map(int, request.values("Content-Length")))


def _path(sent: bytes) -> bytes:
    return unquote_to_bytes(sent.split(b" ")[1].partition(b"?")[0])
