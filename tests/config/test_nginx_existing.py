"""A site with its own nginx configuration gets push by one line: include snippets/sluice/channels.conf."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.nginx_lab import UPGRADE, Nginx, Probe, head, read_answer
from harness.tls import connect, trusting

SERVER = """
    listen 127.0.0.1:$port default_server;
    server_name localhost;
    error_page 404 /own-404;
    include snippets/sluice/channels.conf;
    location / { return 200 "own: $uri"; }
    location = /own-404 { return 200 "own 404"; }
    location /nowhere { return 404; }
    location ~* \\.js$ { return 200 "own script"; }
    location PREFIX/static/ { return 200 "own static"; }
"""


class _Site(Nginx):
    def lay_out(self) -> None:
        super().lay_out()
        self.as_existing_site(SERVER.replace("PREFIX", self.settings["URL_PREFIX"]))


@pytest.fixture(scope="module", params=["", "/catmaid"], ids=lambda prefix: prefix or "no prefix")
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Nginx]]:
    with Probe("asgi") as asgi:
        settings = {"EXPOSE_BACKEND": "yes", "ASGI_ADDRESS": asgi.address, "URL_PREFIX": request.param}
        with _Site(tmp_path_factory.mktemp("nginx"), settings) as nginx:
            yield request.param, nginx


def test_its_channels_are_daphnes_by_the_same_table(site: tuple[str, Nginx]) -> None:
    prefix, nginx = site
    assert nginx.upgrade(f"{prefix}/channels/updates/").made_by == "asgi"
    assert nginx.upgrade(f"{prefix}/channels/script.js").made_by == "asgi"
    assert nginx.send(f"{prefix}/channels/healthz").received.target == "/channels/healthz"
    refused = {
        "/channels/updates/": 426,
        "//channels/updates/": 404,
        "/%63hannels/": 404,
        "/x/../channels/": 404,
        f"/channels/?{'x' * 7168}": 414,
    }
    assert {path: nginx.send(prefix + path).status for path in refused} == refused
    assert nginx.send(f"{prefix}/channels/", method="POST").status == 405
    assert nginx.upgrade(f"{prefix}/channels/", **{"Content-Length": "1"}).status == 413
    assert nginx.upgrade(f"{prefix}/channels/", Host="evil.example").status == 421


@pytest.mark.parametrize(
    "path", ["/", "/channels", "/channelsx/", "/CHANNELS/", "/channels/../admin/", "/healthz", "/a%20b"]
)
def test_its_other_paths_are_left_alone(site: tuple[str, Nginx], path: str) -> None:
    prefix, nginx = site
    for host in ("localhost", "another.name"):
        answer = nginx.upgrade(prefix + path, Host=host)
        assert (answer.status, answer.made_by, answer.text.split(":")[0]) == (200, "", "own")


def test_its_own_locations_and_error_pages_stay(site: tuple[str, Nginx]) -> None:
    prefix, nginx = site
    assert nginx.send("/nowhere").text == "own 404"
    assert nginx.send(f"{prefix}/a.js").text == "own script"
    assert nginx.send(f"{prefix}/static/x").text == "own static"


def test_a_url_that_its_prefix_does_not_cover_is_its_own(tmp_path: Path) -> None:
    with _Site(tmp_path, {"URL_PREFIX": "/catmaid"}) as nginx:
        assert nginx.upgrade("/channels/updates/").text == "own: /channels/updates/"


def test_a_second_asgi_prefix_is_daphnes_by_the_same_line(tmp_path: Path) -> None:
    with Probe("asgi") as asgi:
        settings = {"ASGI_ADDRESS": asgi.address, "ASGI_PREFIXES": "/channels/ /ws/"}
        with _Site(tmp_path, {"EXPOSE_BACKEND": "yes", "URL_PREFIX": "", **settings}) as nginx:
            assert nginx.upgrade("/ws/status/").made_by == "asgi"
            assert [nginx.send(path).status for path in ("/ws/status/", "//ws/status/")] == [426, 404]
            assert nginx.send("/ws/status/", method="POST").status == 405
            for path in ("/ws", "/wsx/", "/WS/", "/ws/../admin/"):
                assert nginx.upgrade(path).text.startswith("own: ")


class _SiteOfAnOlderVersion(_Site):
    """Its place file names no ASGI prefixes."""

    def lay_out(self) -> None:
        super().lay_out()
        self.edit_place({'map "" $sluice_asgi_prefixes    { default "/channels/ /ws/"; }\n': ""})


def test_a_place_file_without_asgi_prefixes_means_channels(tmp_path: Path) -> None:
    with Probe("asgi") as asgi:
        settings = {"ASGI_ADDRESS": asgi.address, "ASGI_PREFIXES": "/channels/ /ws/"}
        with _SiteOfAnOlderVersion(tmp_path, {"URL_PREFIX": "", **settings}) as nginx:
            assert nginx.upgrade("/channels/updates/").status == 101
            assert nginx.upgrade("/ws/status/").text == "own: /ws/status/"


@pytest.mark.parametrize("entry", ["/", "//", "ws/", "/ws", "/w?s/", "/(ws|x)/", "/../", "~/ws/", "/ws/x|"])
def test_a_malformed_asgi_prefix_on_a_host_has_no_effect(tmp_path: Path, entry: str) -> None:
    class Host(_Site):
        def lay_out(self) -> None:
            super().lay_out()
            self.edit_place({'default "/channels/";': f'default "{entry} /channels/ {entry}";'})

    with Probe("asgi") as asgi, Host(tmp_path, {"ASGI_ADDRESS": asgi.address, "URL_PREFIX": ""}) as nginx:
        for path in ("/", "/ws/status/", "/ws/x/", "/x/", "/admin/", "/w/", "/s/"):
            assert nginx.upgrade(path).text == f"own: {path}"
        assert asgi.heads == []
        if "|" not in entry:
            assert nginx.upgrade("/channels/updates/").status == 101


class _SiteByHttps(Nginx):
    """Two servers in one file, each with the line for https. The one for http redirects in a location."""

    def lay_out(self) -> None:
        super().lay_out()
        line = "include snippets/sluice/channels-https-only.conf;"
        self.as_existing_site(f"""
            listen 127.0.0.1:$port default_server;
            {line}
            location / {{ return 301 https://own.example$request_uri; }}
        }}
        server {{
            listen 127.0.0.1:{self.tls_port} ssl default_server;
            ssl_certificate $sluice_certificate;
            ssl_certificate_key $sluice_certificate;
            {line}
            location / {{ return 200 "own: $uri"; }}
        """)


def test_without_tls_its_channels_are_led_to_it_whatever_else_it_does(tmp_path: Path) -> None:
    site = "https://localhost:8443"
    with Probe("asgi") as asgi:
        settings = {
            "TLS": "self-signed",
            "HTTPS_PORT": "8443",
            "SITE_URL": site,
            "ASGI_ADDRESS": asgi.address,
            "ASGI_PREFIXES": "/channels/ /ws/",
        }
        with _SiteByHttps(tmp_path, settings) as nginx:
            for path in ("/channels/updates/?a=%20", "/channels/healthz", "/channels/x", "/ws/status/"):
                answer = nginx.upgrade(path)
                assert (answer.status, answer.one("Location")) == (308, site + path)
            assert nginx.send("/channels/", method="POST").status == 308
            assert nginx.upgrade("//channels/updates/").status == 404
            assert nginx.upgrade("/channels/updates/", Host="evil.example").status == 421
            assert nginx.send("/a").one("Location") == "https://own.example/a"
            assert asgi.heads == []
            for path, status in (("/channels/updates/", 101), ("/ws/status/", 101), ("/a", 200)):
                with connect(nginx.tls_port, trusting()) as wire:
                    wire.sendall(head(path, headers=UPGRADE))
                    assert read_answer(wire).status == status
