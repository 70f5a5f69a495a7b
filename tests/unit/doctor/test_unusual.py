"""The doctor raises no alarm on hosts that are unusual but correct."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.doctor.house import House
from unit.doctor.mistakes import Mistake, recognised, rewritten
from unit.doctor.test_limits import nginx_conf

from config.nginx_lab import SOURCE, Nginx
from sluice_stack.doctor import broker

# The response of another site on the same nginx to unknown host names.
ANOTHER_SITE = """
server {
    listen 127.0.0.1:$port default_server;
    add_header Content-Security-Policy "default-src 'none'";
    location / { return 200 Welcome; }
}
"""

LIMITS = {
    "nginx's connections are on a line with others": Mistake(
        lambda house: nginx_conf(
            r"events\s*\{[^}]*\}", "events { multi_accept on; worker_connections 1412; }"
        ),
        "nginx-connections",
        "",
        "holds 1412 connections",
        "",
        "passed",
        arguments=("--clients", "450"),
    ),
}


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("what", LIMITS)
def test_limits_that_are_set_in_other_ways(house: House, front: str, what: str) -> None:
    recognised(house, front, LIMITS[what])


@pytest.mark.usefixtures("alone")
def test_a_setting_in_a_comment_is_not_nginxs(house: House, front: str) -> None:
    commented = Mistake(
        lambda house: nginx_conf(
            r"events\s*\{[^}]*\}",
            "events { worker_connections 512; } # before: events { worker_connections 9999; }",
        ),
        "nginx-connections",
        "",
        "512 connections, and needs 1512",
        "worker_connections 1512;",
        arguments=("--clients", "500"),
    )
    recognised(house, front, commented)


def test_another_site_answers_to_other_names(house: House, tmp_path: Path) -> None:
    own = "include snippets/sluice/site.conf;"

    def change(nginx: Nginx) -> None:
        nginx.edit_place({"default_server ": "", own: f"server_name localhost; {own}"})
        place = nginx.folder / "run/place.conf"
        place.write_text(place.read_text() + ANOTHER_SITE.replace("$port", str(nginx.port)))

    with house.front(tmp_path, change) as at:
        said = house.doctor("--at", at, "--only", "front-answers", "front-name", "front-pages", "split-site")
    assert (said.bad, said.code) == ([], 0)
    assert said.of("front-name")["message"].endswith("another name gets 200")


def test_the_address_may_be_written_differently_than_in_browsers(house: House, front: str) -> None:
    asked = ("--at", front, "--only", "settings-address", "front-name", "push-upgrade")
    said = house.doctor(house.site_url.replace("http://localhost", "HTTP://LOCALHOST") + "/", *asked)
    assert (said.bad, said.code) == ([], 0), said.output
    said = house.doctor("http://localhost:80/", "--at", front, "--only", "settings-address")
    assert said.of("settings-address")["message"].endswith("not http://localhost")


@contextlib.contextmanager
def by_tls(house: House) -> Iterator[None]:
    """All programs connect to the broker by TLS, after the guide's own command."""
    guide = (SOURCE / "docs/how-to/bare-metal.md").read_text()
    command = re.search(r"^sed .*amqps://.*$", guide, re.MULTILINE)
    assert command, "the guide no longer has this command"
    here = command[0].replace("127.0.0.1:5672", f"127.0.0.1:{house.rabbitmq.port}")
    here = here.replace("$mq:5671", f"localhost:{house.rabbitmq.tls_port}")
    before = {path: path.read_text() for path in house.etc.glob("*.env")}
    try:
        subprocess.run(here.replace("/etc/sluice", str(house.etc)), shell=True, check=True)
        yield
    finally:
        for path, text in before.items():
            path.write_text(text)


BROKER = ["--inside", "--only", *(check.name for check in broker.CHECKS), "layer-round-trip"]


def test_a_broker_with_tls(house: House) -> None:
    """The file for all programs names the trusted authority."""
    with by_tls(house):
        common = house.etc / "sluice.env"
        common.write_text(f"SSL_CERT_FILE={house.rabbitmq.authority}\n{common.read_text()}")
        said = house.doctor(*BROKER)
    assert (said.bad, said.code) == ([], 0), said.output
    assert {one["verdict"] for one in said.findings} == {"passed"}, said.output


def test_a_broker_whose_authority_is_not_trusted(house: House) -> None:
    with by_tls(house):
        said = house.doctor(*BROKER)
    found = said.of("broker-reachable", "daphne, LAYER_URL")
    assert "its certificate is not trusted" in found["message"] and "SSL_CERT_FILE" in found["fix"]
    assert "certificate is refused" in said.of("layer-round-trip", "daphne")["message"]


def test_a_port_that_does_not_speak_tls(house: House) -> None:
    with house.edited("daphne.env", "amqp:", "amqps:"):
        said = house.doctor(*BROKER)
    assert "does not speak TLS" in said.of("broker-reachable", "daphne, LAYER_URL")["message"]
    assert said.of("broker-one-vhost")["verdict"] == "skipped"


_VIEW = "lambda request: HttpResponse({body!r}, status={status})"
OWN_PATHS = {
    "a page, to which Django leads": ('path("channels/", {view}),', "Our channels.", 200),
    "a page that is gone": ('path("channels", {view}),', "Not found.\n", 404),
    "an upgrade that it asks for itself": ('path("channelsx/", {view}),', "To HTTP/3, please.", 426),
    "a bad request": ('path("CHANNELS/", {view}),', "What?", 400),
}


@pytest.mark.parametrize("what", OWN_PATHS)
def test_the_sites_own_page_at_such_a_path_is_not_nginxs(house: House, front: str, what: str) -> None:
    path, body, status = OWN_PATHS[what]
    view = _VIEW.format(body=body, status=status)
    urls = house.app / "mysite/urls.py"
    own = (
        "\nfrom django.http import HttpResponse\nfrom django.urls import path\n"
        f"urlpatterns = [{path.format(view=view)} *urlpatterns]\n"
    )
    with rewritten(urls, urls.read_text() + own), house.restarted("gunicorn"):
        said = house.doctor("--at", front, "--only", "split-site")
    assert said.of("split-site")["verdict"] == "passed", said.output
