"""The entry point's refusals and output, and that nginx accepts both place files without a warning."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from config.nginx_lab import SOURCE, Nginx, lab, run_entry_point
from mysite.environment import Environment
from sluice_stack import environment

_TABLE = environment.rows(Environment)

# Malformed values of each setting.
MALFORMED = {
    "SITE_URL": [
        "localhost",
        "ftp://localhost",
        "http://",
        "http://a b",
        "http://local_host",
        "http://a/b",
        "http://a:0",
        "http://a:999999",
        "http://a;}",
        "http://[::1",
        "http://u@a",
    ],
    "URL_PREFIX": [
        "/",
        "a",
        "/a/",
        "//a",
        "/a//b",
        "/a b",
        "/.",
        "/..",
        "/a/../b",
        "/a/.",
        "/ä",
        '/a";',
        "/$uri",
        "/a\nb",
        "/@NAMES@",
    ],
    "ASGI_PREFIXES": [
        "/",
        "/ /channels/",
        "/channels",
        "channels/",
        "/channels/ /ws",
        "/channels/ ws/",
        "/channels/ //",
        "/channels/ /a//b/",
        "/channels/ /./",
        "/channels/ /a/../",
        "/channels/ /ws.*/",
        "/channels/ ^/ws/",
        "/channels/ ~/ws/",
        "/channels/ /(a|b)/",
        "/channels/|/ws/",
        "/channels/,/ws/",
        "/channels/\t/ws/",
        "/channels/ /ws/\n",
        " /channels/",
        "/channels/ ",
        "/channels/ /$uri/",
        '/channels/ /a";/',
        "/channels/ /ä/",
        "/channels/ /@NAMES@/",
        "/ws/",
        "/CHANNELS/",
        "/xchannels/ /channelsx/",
        "/channels/ /channels/",
        "/channels/ /ws/ /ws/",
        "/channels/ /channels/x/",
        "/ws/x/ /channels/ /ws/",
        "/channels/ /static/",
        "/channels/ /static/js/",
        "/channels/ /media/",
        "/channels/ /protected-media/",
        "/monitoring/ /channels/",
    ],
    "EXPOSE_BACKEND": ["true", "YES", "yes\n"],
    "LOG_LEVEL": ["verbose", "INFO"],
    "HEALTH_ALLOW": [
        "all",
        "10.0.0.0/33",
        "256.0.0.1",
        "10.0.0",
        "::1/129",
        "1:2",
        "10.0.0.0/8;",
        "10.0.0.0/8 yes; 0.0.0.0/0",
    ],
    "MONITORING": ["on", "YES"],
    "METRICS_ALLOW": ["all", "10.0.0.0/8 yes; 0.0.0.0/0"],
    "PROMETHEUS_ADDRESS": ["prometheus", "prometheus:0"],
    "WSGI_ADDRESS": [
        "wsgi",
        "wsgi:65536",
        "wsgi:",
        "wsgi:x",
        "http://wsgi:8000",
        "wsgi:8000/x",
        "$host:80",
        "::1:8000",
    ],
    "ASGI_ADDRESS": ["asgi", "asgi:0"],
    "MAX_BODY_SIZE": ["0", "1g", "-1", "1 m", "one"],
    "PUBLIC_MEDIA": ["on", "YES"],
    "MAX_CLIENTS": ["0", "many", "1e3", "32001", "99999"],
    "CHANNELS_PER_ADDRESS": ["0", "-5", "5r/s", "65536"],
    "CHANNELS_PER_ADDRESS_SECOND": ["0", "0.5", "10000"],
    "TLS": ["on", "yes", "OWN"],
    "HTTPS_PORT": ["0", "65536", "https"],
}
GOOD = {
    "SITE_URL": [
        "http://localhost",
        "https://sluice.example.org",
        "https://Sluice.Example.org:8443",
        "http://127.0.0.1:8080/",
        "http://[::1]:8080",
        "http://x",
    ],
    "URL_PREFIX": ["/catmaid", "/a/b", "/a.b/c~d-e_f", "/.well-known", "/..a", "/...", "/a..b"],
    "ASGI_PREFIXES": [
        "/channels/",
        "/channels/ /ws/",
        "/ws/  /channels/   /wsx/",
        "/a.b/c~d-e_f/ /channels/ /.well-known/ /.../ /..a/",
        "/statics/ /channels/ /x/static/",
    ],
    "HEALTH_ALLOW": [
        "10.0.0.0/8 192.168.1.1",
        "::1, 2001:db8::/32,127.0.0.1",
        "0.0.0.0/0",
        "::/0",
        "fe80:0:0:0:0:0:0:0/10",
        "0.0.0.0/0 ::/0",
    ],
    "METRICS_ALLOW": ["10.0.0.0/8 192.168.1.1", "::1, 2001:db8::/32,127.0.0.1", "0.0.0.0/0 ::/0"],
    "MONITORING": ["yes"],
    "PROMETHEUS_ADDRESS": ["10.0.0.7:9090"],
    "WSGI_ADDRESS": ["wsgi.sluice.svc.cluster.local:80", "10.0.0.7:8000", "[2001:db8::1]:8000"],
    "LOG_LEVEL": ["debug", "warning", "error"],
    "MAX_CLIENTS": ["1", "9999", "20000", "32000"],
    "CHANNELS_PER_ADDRESS": ["1", "32000"],
    "CHANNELS_PER_ADDRESS_SECOND": ["1", "9999"],
    "PUBLIC_MEDIA": ["yes"],
    "MAX_BODY_SIZE": ["1024", "512k", "100m"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "resolv.conf").write_text(
        "nameserver 127.0.0.11\nnameserver 2001:db8::53\nnameserver fe80::1%eth0\noptions ndots:0\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in MALFORMED.items() for value in values]
)
def test_a_malformed_setting_ends_the_container_with_one_line(folder: Path, name: str, value: str) -> None:
    result = run_entry_point(folder, {name: value}, "echo", "started")
    assert (result.returncode, result.stdout) == (78, "")
    assert re.fullmatch(rf"sluice nginx: {name}=.* is malformed: it must be .*\n", result.stderr), (
        result.stderr
    )


@pytest.mark.parametrize("name", ["SITE_ULR", "URL_PREFX", "HTTP_PORT", "MAX_CLIENT"])
def test_an_unknown_setting_ends_the_container_with_one_line(folder: Path, name: str) -> None:
    result = run_entry_point(folder, {name: "x"}, "echo", "started")
    assert (result.returncode, result.stdout) == (78, "")
    known = " ".join(MALFORMED)
    assert result.stderr == f"sluice nginx: {name} is not a setting of this container; it has {known}\n"


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in GOOD.items() for value in values]
)
def test_nginx_accepts_the_result_of_every_valid_setting(tmp_path: Path, name: str, value: str) -> None:
    nginx = Nginx(tmp_path, {name: value})
    nginx.port, nginx.tls_port, nginx.health_port = 1, 2, 3
    nginx.lay_out()
    assert _complaints([*nginx.command, "-t"]) == ""


def test_an_empty_setting_means_the_default(folder: Path) -> None:
    for settings in ({}, dict.fromkeys(MALFORMED, "")):
        assert run_entry_point(folder, settings, "echo", "started").stdout == "started\n"
        place = (folder / "run/place.conf").read_text()
        for line in (
            '$sluice_names            { default "localhost"; }',
            '$sluice_asgi_prefixes    { default "/channels/"; }',
            'wsgi:8000"',
            'asgi:8001"',
            "rate=200r/s",
            "burst=5000 ",
            "client_max_body_size 1m;",
            "127.0.0.0/8 yes;",
        ):
            assert line in place
        assert "resolver 127.0.0.11 [2001:db8::53] valid=2s ipv6=off;" in place
        assert not re.search("@[A-Z_]+@", place)


def test_an_operator_learns_at_the_start_if_too_few_files_may_be_open(folder: Path) -> None:
    """The entry point raises the soft limit to the hard limit, at most to 65536."""
    script = f'ulimit -Sn 300; ulimit -Hn 600; exec bash "{folder}/entrypoint" bash -c "ulimit -Sn"'
    run_entry_point(folder, {}, "true")  # this writes the adapted entry point
    few = subprocess.run(
        ["bash", "-c", script], env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    assert few.stdout == "600\n"
    assert re.fullmatch(
        r"sluice nginx: only 600 files may be open, 10512 are needed for 5000 clients; .*\n", few.stderr
    )
    assert "worker_connections 600;" in (folder / "run/main.conf").read_text()
    fewer = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": "/usr/bin:/bin", "MAX_CLIENTS": "20"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (fewer.stdout, fewer.stderr) == ("600\n", "")


def test_a_site_is_known_by_an_ipv6_address(tmp_path: Path) -> None:
    with lab(tmp_path, SITE_URL="http://[::1]:8080") as (nginx, _, _):
        assert nginx.send("/", headers={"Host": "[::1]:8080"}).status == 200
        assert nginx.send("/", headers={"Host": "[::2]"}).status == 421


def test_backends_learn_that_the_site_is_https(tmp_path: Path) -> None:
    with lab(tmp_path, SITE_URL="https://localhost") as (nginx, _, _):
        assert nginx.send("/", headers={"X-Forwarded-Proto": "http"}).received.all("X-Forwarded-Proto") == [
            "https"
        ]


def test_the_place_of_a_host_works_as_it_is_in_a_stock_configuration(tmp_path: Path) -> None:
    """Debian's main file, shortened, with nginx/ beside it, needs no other line and gives no warning."""
    nginx = Nginx(tmp_path, {})
    nginx.port, nginx.tls_port, nginx.health_port = 1, 2, 3
    nginx.lay_out()
    etc = tmp_path / "etc"
    place = (
        (etc / "host/place.conf")
        .read_text()
        .replace("listen 80 ", "listen 127.0.0.1:1 ")
        .replace("/var/log/nginx", str(tmp_path))
    )
    (etc / "conf.d/sluice-place.conf").write_text(place)
    (etc / "stock.conf").write_text(
        f"pid {tmp_path}/pid; events {{ }} http {{ include mime.types; gzip on; access_log {tmp_path}/log;\n"
        + "".join(
            f"{kind}_temp_path {tmp_path}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + " include conf.d/*.conf; }"
    )
    assert _complaints([*nginx.command[:-1], str(etc / "stock.conf"), "-t"]) == ""


def test_the_image_checks_its_settings_as_the_table_does() -> None:
    """images/nginx/settings.sh repeats the rows of sluice_stack's table that concern nginx."""
    script = (SOURCE / "images/nginx/settings.sh").read_text()
    defaults = dict(re.findall(r"^(?:setting|choice|whole) ([A-Z_]+) (\S+)", script, re.MULTILINE))
    assert list(defaults) == list(MALFORMED)
    # The image's own, for orchestrators other than compose.yaml.
    own = {"WSGI_ADDRESS", "ASGI_ADDRESS", "PROMETHEUS_ADDRESS"}
    rows = {name: _TABLE[name] for name in MALFORMED if name not in own}
    published = {"HTTP_PORT", "HTTP_BIND"}  # compose.yaml uses these, nginx does not
    for_nginx = {row.name for row in _TABLE.values() if "nginx" in row.readers} - published
    assert for_nginx <= set(rows)
    for name, row in rows.items():
        assert row.default in ("", defaults[name]), name
        for value in GOOD.get(name, []):
            row.parse(value)
        for value in MALFORMED[name]:
            with pytest.raises(ValueError, match="must"):
                row.parse(value)


def test_each_setting_is_in_the_reference_and_in_both_places() -> None:
    reference = (SOURCE / "docs/reference/the-split.md").read_text()
    settings = list(MALFORMED)
    assert [name for name in settings if f"`{name}`" not in reference] == []
    container, host = (
        (SOURCE / "nginx" / name).read_text() for name in ("container/place.conf.in", "host/place.conf")
    )
    variables = re.findall(r"^(?:map \"\"|geo) (\$sluice_\w+)", container, re.MULTILINE)
    # A host names its certificate in its server block, where nginx reads it once as root.
    in_both = [name for name in variables if name != "$sluice_certificate"]
    assert in_both == re.findall(r"^(?:map \"\"|geo) (\$sluice_\w+)", host, re.MULTILINE)
    assert [name for name in variables if f"`{name}`" not in reference] == []


def _complaints(command: list[str]) -> str:
    """nginx's messages about a configuration, without those of success."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    harmless = re.compile(r"syntax is ok|test is successful|the \"user\" directive makes sense only")
    lines = [line for line in (result.stdout + result.stderr).splitlines() if not harmless.search(line)]
    return "\n".join(lines) if lines or result.returncode == 0 else f"status {result.returncode}"
