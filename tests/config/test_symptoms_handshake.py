"""docs/reference/symptoms.md: no WebSocket opens. Made with a stock Daphne and nginx, or with ours."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from django.test import Client

from config.nginx_lab import UPGRADE, Nginx, head, read_answer
from config.symptoms_lab import SEED, Daphne, PlainNginx, assert_seen, seed_site
from harness.servers import free_port
from harness.waiting import wait_until


@pytest.mark.parametrize("application", ["without_layer", "without_broker"])
def test_the_application_never_answers(tmp_path: Path, application: str) -> None:
    with seed_site(tmp_path, application) as (nginx, daphne):
        began = time.monotonic()
        answer = nginx.upgrade()
        assert time.monotonic() - began > 3
        assert_seen("502 after 5 s, 104: Connection reset by peer", f"{answer.status} {nginx.log}")
        assert "reset" not in daphne.log


def test_daphne_is_out_of_file_handles(tmp_path: Path) -> None:
    with seed_site(tmp_path, "good", files=40) as (nginx, daphne), contextlib.ExitStack() as held:
        before = daphne.log.count("\n")
        answer = None
        for _ in range(40):
            wire = held.enter_context(socket.create_connection(("127.0.0.1", nginx.port), timeout=10))
            wire.sendall(head("/channels/updates/", headers=UPGRADE))
            began = time.monotonic()
            answer = read_answer(wire)
            if answer.status != 101:
                break
        assert answer and time.monotonic() - began < 1
        assert_seen("502 at once, 104: Connection reset by peer", f"{answer.status} {nginx.log}")
        said = "\n".join(daphne.log.splitlines()[before:])
        assert "rror" not in said and "open files" not in said


def test_daphne_dies_while_it_is_asked(tmp_path: Path) -> None:
    with seed_site(tmp_path, "without_layer") as (nginx, daphne):
        answers = []
        asking = threading.Thread(target=lambda: answers.append(nginx.upgrade()))
        asking.start()
        wait_until(lambda: "WSCONNECTING" in daphne.log, 10, "the handshake to arrive")
        daphne.signal(signal.SIGKILL)
        asking.join(10)
        assert_seen("502, upstream prematurely closed connection", f"{answers[0].status} {nginx.log}")


def test_daphne_is_not_there(tmp_path: Path) -> None:
    with PlainNginx(tmp_path, SEED.replace("$daphne", str(free_port()))) as nginx:
        answer = nginx.upgrade()
        assert_seen("502, 111: Connection refused", f"{answer.status} {nginx.log}")


def test_a_name_is_unknown_when_nginx_starts(tmp_path: Path) -> None:
    nginx = PlainNginx(tmp_path, "location /channels/ { proxy_pass http://asgi.invalid:8001; }")
    nginx.write()
    done = subprocess.run([*nginx.command, "-t"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert_seen("host not found in upstream", done.stderr)


def test_proxy_pass_is_missing(tmp_path: Path) -> None:
    lines = [line for line in SEED.splitlines() if "proxy_pass" not in line]
    with PlainNginx(tmp_path, "\n".join(lines)) as nginx:
        answer = nginx.upgrade()
        assert_seen("404 from nginx, No such file or directory", f"{answer.status} {nginx.log}")


def test_the_handshake_reached_the_wsgi_server(caplog: pytest.LogCaptureFixture) -> None:
    """Django's own handler, as Gunicorn calls it."""
    answer = Client(headers={"upgrade": "websocket", "connection": "upgrade"}).get("/channels/updates/")
    assert_seen("404 from Django", f"{answer.status_code} {caplog.text}")


def test_the_prefix_is_not_taken_off(tmp_path: Path) -> None:
    with Daphne(tmp_path, "routed") as daphne:
        location = f"location /catmaid/ {{ proxy_pass http://127.0.0.1:{daphne.port}; "
        location += "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
        location += "proxy_set_header Connection upgrade; }"
        with PlainNginx(tmp_path, location) as nginx:
            answer = nginx.upgrade("/catmaid/channels/updates/")
        assert_seen("500, No route found for path", f"{answer.status} {daphne.log}")


def test_a_proxy_in_front_drops_the_upgrade(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    with (
        Nginx(tmp_path / "ours", {}) as ours,
        PlainNginx(
            tmp_path,
            f"location / {{ proxy_pass http://127.0.0.1:{ours.port}; proxy_set_header Host localhost; }}",
        ) as front,
    ):
        assert (
            ours.upgrade("/channels/updates/").status == 503
        )  # an upgrade is known for one; there is no Daphne
        answer = front.upgrade()
        assert_seen("426, this is a WebSocket", f"{answer.status} {answer.text}")


def test_a_foreign_origin(tmp_path: Path) -> None:
    with seed_site(tmp_path, "own_pages_only") as (nginx, daphne):
        assert nginx.upgrade(Origin="https://sluice.example.org").status == 101
        answer = nginx.upgrade(Origin="https://sluice.example.com")
        assert_seen("403 to the handshake", f"{answer.status} {daphne.log}")


def test_a_name_that_is_not_the_sites(tmp_path: Path) -> None:
    with Nginx(tmp_path, {}) as nginx:
        answer = nginx.upgrade("/channels/updates/", Host="sluice.example.org")
        assert_seen("421, this server answers for", f"{answer.status} {answer.text}")


def test_a_name_that_django_does_not_know(caplog: pytest.LogCaptureFixture) -> None:
    answer = Client(headers={"host": "sluice.example.org"}).get("/accounts/login/")
    assert_seen("400, Invalid HTTP_HOST header", f"{answer.status_code} {caplog.text}")


def test_a_post_from_another_scheme(caplog: pytest.LogCaptureFixture) -> None:
    """Such as https, where a proxy in front didn't say so."""
    client = Client(enforce_csrf_checks=True, headers={"host": "localhost", "origin": "https://localhost"})
    answer = client.post("/accounts/login/", {"username": "alice"})
    assert_seen("403 to a POST, Origin checking failed", f"{answer.status_code} {caplog.text}")
