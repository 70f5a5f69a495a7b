"""Where a host is right, though unusual, the doctor raises no alarm."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.doctor.house import House
from unit.doctor.mistakes import Mistake, recognised
from unit.doctor.test_limits import nginx_conf

from config.nginx_lab import Nginx

# What another site on the same nginx says to whom nobody else answers.
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
            r"events\s*\{[^}]*\}", "events { multi_accept on; worker_connections 1512; }"
        ),
        "nginx-connections",
        "",
        "holds 1512 connections",
        "",
        "ok",
        arguments=("--clients", "500"),
    ),
    "nginx asks Daphne on a unix socket, which takes no port": Mistake(
        lambda house: nginx_conf(
            r"http \{", 'http { map "" $sluice_asgi { default unix:/run/sluice/asgi.sock; }'
        ),
        "kernel-ports",
        "",
        "none is taken between nginx and Daphne",
        "",
        "ok",
        arguments=("--clients", "70000"),
    ),
}


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("what", LIMITS)
def test_limits_that_are_set_otherwise(house: House, front: str, what: str) -> None:
    recognised(house, front, LIMITS[what])


@pytest.mark.usefixtures("alone")
def test_what_is_only_said_in_a_comment_is_not_nginxs_setting(house: House, front: str) -> None:
    commented = Mistake(
        lambda house: nginx_conf(
            r"events\s*\{[^}]*\}",
            "events { worker_connections 512; } # before: events { worker_connections 9999; }",
        ),
        "nginx-connections",
        "",
        "512 connections, 1512 are needed",
        "worker_connections 1512;",
        arguments=("--clients", "500"),
    )
    recognised(house, front, commented)


@pytest.fixture(params=["nginx: worker process", "nginx: worker process is shutting down"])
def worker(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """A process that is called so and may open few files; its name and number."""
    command = ["prlimit", "--nofile=64", "bash", "-c", 'exec -a "$0" sleep 120', request.param]
    with subprocess.Popen(command) as process:
        try:
            yield request.param, process.pid
        finally:
            process.kill()


@pytest.mark.usefixtures("alone")
def test_a_worker_of_nginx_that_is_about_to_end_is_not_measured(
    house: House, front: str, worker: tuple[str, int]
) -> None:
    """It keeps the limits of before the reload, for the clients that it still has."""
    name, pid = worker
    said = house.doctor("--at", front, "--clients", "100", "--only", "open-files")
    found = [one["verdict"] for one in said.findings if one["where"] == f"nginx, process {pid}"]
    assert found == ([] if name.endswith("down") else ["failure"]), said.output


def test_another_site_answers_to_other_names(house: House, tmp_path: Path) -> None:
    own = "include snippets/sluice/site.conf;"

    def change(nginx: Nginx) -> None:
        nginx.edit_place({"default_server ": "", own: f"server_name localhost; {own}"})
        place = nginx.folder / "run/place.conf"
        place.write_text(place.read_text() + ANOTHER_SITE.replace("$port", str(nginx.port)))

    with house.front(tmp_path, change) as at:
        said = house.doctor("--at", at, "--only", "front-answers", "front-name", "front-pages", "split-site")
    assert (said.bad, said.code) == ([], 0)
    assert said.of("front-name")["says"].endswith("another gets 200")


def test_the_address_may_be_written_otherwise_than_browsers_do(house: House, front: str) -> None:
    asked = ("--at", front, "--only", "settings-address", "front-name", "push-upgrade")
    said = house.doctor(house.site_url.replace("http://localhost", "HTTP://LOCALHOST") + "/", *asked)
    assert (said.bad, said.code) == ([], 0), said.output
    said = house.doctor("http://localhost:80/", "--at", front, "--only", "settings-address")
    assert said.of("settings-address")["says"].endswith("not http://localhost")


def test_a_broker_that_is_asked_by_tls_is_not_spoken_to_without(house: House) -> None:
    """Nor is its port taken for another broker's than the one without."""
    checks = (
        "broker-reachable",
        "broker-login",
        "broker-permissions",
        "broker-one-vhost",
        "broker-consumers",
    )
    with (
        house.edited("daphne.env", "amqp:", "amqps:"),
        house.edited("daphne.env", f":{house.rabbitmq.port}/", ":5671/"),
        house.edited("gunicorn.env", "TASKS_URL=amqp:", "TASKS_URL=amqps:"),
    ):
        said = house.doctor("--inside", "--only", *checks)
    assert (said.bad, said.code) == ([], 0), said.output
    assert said.of("broker-reachable", "daphne, LAYER_URL")["verdict"] == "left out"
    assert said.of("broker-consumers")["verdict"] == "left out"
    assert said.of("broker-one-vhost")["verdict"] == "left out"
