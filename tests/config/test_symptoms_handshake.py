"""docs/reference/symptoms.md: no WebSocket opens. Reproduced with a stock Daphne and nginx, or with ours."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from config.nginx_lab import UPGRADE, head, lab, read_answer
from config.symptoms_lab import (
    SEED,
    Daphne,
    Gunicorn,
    PlainNginx,
    SupervisedDaphne,
    manage,
    nginx_command,
    port_of,
    seed_site,
)
from harness.servers import free_port
from harness.symptoms import OWN_DAPHNES, assert_not_proved, assert_proved, assert_refuted, assert_seen
from harness.waiting import wait_until


@pytest.mark.parametrize("application", ["without_layer", "without_broker"])
def test_the_application_never_answers(tmp_path: Path, application: str) -> None:
    heading = "502 after 5 s, 104: Connection reset by peer"
    with seed_site(tmp_path, application) as (nginx, daphne):
        began = time.monotonic()
        answer = nginx.upgrade()
        assert time.monotonic() - began > 3
        assert_seen(heading, f"{answer.status} {nginx.log}")
        assert "reset" not in daphne.log
        impatient = {"--max-time 4": "--max-time 1", "after 4.": "after 1."}
        assert_proved(heading, port_of(daphne) | impatient)
        assert_not_proved("502 at once, 104: Connection reset by peer", OWN_DAPHNES)
    with Daphne(tmp_path, "good") as cured:
        assert_refuted(heading, port_of(cured) | impatient)


def test_daphne_is_out_of_file_handles(tmp_path: Path) -> None:
    heading, places = "502 at once, 104: Connection reset by peer", OWN_DAPHNES | {"1024": "40"}
    with seed_site(tmp_path, "good", files=40) as (nginx, daphne), contextlib.ExitStack() as held:
        assert_refuted(heading, places)
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
        # Repeat if Daphne closed the connection before nginx sent its request: the log line then belongs to
        # another symptom.
        wait_until(lambda: nginx.upgrade().status == 502 and "(104:" in nginx.log, 10, "a reset", every=0.02)
        assert_seen(heading, f"{answer.status} {nginx.log}")
        said = "\n".join(daphne.log.splitlines()[before:])
        assert "rror" not in said and "open files" not in said
        assert_proved(heading, places)
        assert_not_proved("502 after 5 s, 104: Connection reset by peer", port_of(daphne))
        daphne.allow_files(80)
        assert nginx.upgrade().status == 101


def test_daphne_dies_while_it_is_asked(tmp_path: Path) -> None:
    places = {"/var/log/supervisor/supervisord.log": f"{tmp_path}/supervisord.log"}
    with seed_site(tmp_path, "without_layer", kind=SupervisedDaphne) as (nginx, daphne):
        answers = []
        asking = threading.Thread(target=lambda: answers.append(nginx.upgrade()))
        asking.start()
        wait_until(lambda: "WSCONNECTING" in daphne.log, 10, "the handshake to arrive")
        assert_refuted("502, upstream prematurely closed connection", places)
        daphne.signal(signal.SIGKILL)
        asking.join(10)
        assert_seen("502, upstream prematurely closed connection", f"{answers[0].status} {nginx.log}")
        assert_proved("502, upstream prematurely closed connection", places)


def test_daphne_is_not_there(tmp_path: Path) -> None:
    port = free_port()
    with PlainNginx(tmp_path, SEED.replace("$daphne", str(port))) as nginx:
        answer = nginx.upgrade()
        assert_seen("502, 111: Connection refused", f"{answer.status} {nginx.log}")
        assert_proved("502, 111: Connection refused", {"8001": str(port)})
        with Daphne(tmp_path, "good", port=port):
            assert_refuted("502, 111: Connection refused", {"8001": str(port)})
            assert nginx.upgrade().status == 101


def test_a_name_is_unknown_when_nginx_starts(tmp_path: Path) -> None:
    nginx = PlainNginx(tmp_path, "location /channels/ { proxy_pass http://asgi.invalid:8001; }")
    nginx.write()
    done = subprocess.run([*nginx.command, "-t"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert_seen("host not found in upstream", done.stderr)
    assert_proved("host not found in upstream", {"NAME": "asgi.invalid"})
    assert_refuted("host not found in upstream", {"NAME": "localhost"})


def test_proxy_pass_is_missing(tmp_path: Path) -> None:
    with seed_site(tmp_path, "good") as (nginx, daphne):
        cured = nginx.locations
        nginx.reload("\n".join(line for line in cured.splitlines() if "proxy_pass" not in line))
        answer = nginx.upgrade()
        assert_seen("404 from nginx, No such file or directory", f"{answer.status} {nginx.log}")
        assert_proved("404 from nginx, No such file or directory", nginx_command(nginx))
        nginx.reload(cured)
        assert_refuted("404 from nginx, No such file or directory", nginx_command(nginx) | port_of(daphne))
        assert nginx.upgrade().status == 101


def test_the_handshake_reached_the_wsgi_server(tmp_path: Path) -> None:
    with Gunicorn(tmp_path) as gunicorn, Daphne(tmp_path, "good") as daphne:
        site = (
            f"location / {{ proxy_pass http://127.0.0.1:{gunicorn.port}; proxy_set_header Host localhost; }}"
        )
        with PlainNginx(tmp_path, site) as nginx:
            answer = nginx.upgrade()
            assert_seen("404 from Django", f"{answer.status} {gunicorn.log}")
            assert_proved("404 from Django", nginx_command(nginx))
            nginx.reload(site + SEED.replace("$daphne", str(daphne.port)))
            assert_refuted("404 from Django", nginx_command(nginx))
            assert nginx.upgrade().status == 101


def test_the_prefix_is_not_taken_off(tmp_path: Path) -> None:
    heading, target = "500, No route found for path", "/catmaid/channels/updates/"
    with seed_site(tmp_path, "routed") as (nginx, daphne):
        places = {"/var/log/sluice/daphne.log": str(daphne.log_file)}
        both_with = nginx.locations.replace("/channels/ {", "/catmaid/channels/ {")
        nginx.reload(both_with.replace(f"{daphne.port}/channels/", f"{daphne.port}"))
        answer = nginx.upgrade(target)
        assert_seen(heading, f"{answer.status} {daphne.log}")
        assert_proved(heading, places)
        nginx.reload(both_with)
        assert nginx.upgrade(target).status == 101
        assert_refuted(heading, places)


def test_a_proxy_in_front_drops_the_upgrade(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    with lab(tmp_path / "ours") as (ours, _, _):
        places = {"/var/log/nginx/sluice.access.log": str(ours.folder / "log")}
        assert ours.upgrade("/channels/updates/").status == 101
        assert_refuted("426, this is a WebSocket", places)
        site = f"proxy_pass http://127.0.0.1:{ours.port}; proxy_set_header Host localhost;"
        with PlainNginx(tmp_path, f"location / {{ {site} }}") as front:
            answer = front.upgrade()
            assert_seen("426, this is a WebSocket", f"{answer.status} {answer.text}")
            assert_proved("426, this is a WebSocket", places)
            fix = "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;"
            front.reload(f"location / {{ {site} {fix} proxy_set_header Connection upgrade; }}")
            assert front.upgrade().status == 101


def test_a_foreign_origin(tmp_path: Path) -> None:
    with seed_site(tmp_path, "own_pages_only") as (nginx, daphne):
        answer = nginx.upgrade(Origin="https://sluice.example.com")
        assert_seen("403 to the handshake", f"{answer.status} {daphne.log}")
        site = {"localhost:8080": f"localhost:{nginx.port}", "--max-time 4": "--max-time 1"}
        assert_proved("403 to the handshake", site)
        assert_refuted("403 to the handshake", site | {"sluice.example.com": "sluice.example.org"})


def test_a_name_that_is_not_the_sites(tmp_path: Path) -> None:
    heading, log = "421, this server answers for", "/var/log/nginx/sluice.access.log"
    asked, cured = tmp_path / "asked", tmp_path / "cured"
    for folder in (asked, cured):
        folder.mkdir()
    with lab(asked) as (nginx, _, _):
        answer = nginx.upgrade("/channels/updates/", Host="sluice.example.org")
        assert_seen(heading, f"{answer.status} {answer.text}")
        assert_proved(heading, {log: f"{asked}/log"})
    with lab(cured, SITE_URL="http://sluice.example.org") as (nginx, _, _):
        assert nginx.upgrade("/channels/updates/", Host="sluice.example.org").status == 101
        assert_refuted(heading, {log: f"{cured}/log"})


def test_a_name_that_django_does_not_know(tmp_path: Path) -> None:
    heading, fix = "400, Invalid HTTP_HOST header", {"SITE_URL": "http://sluice.example.org"}
    with Gunicorn(tmp_path) as gunicorn:
        answer = gunicorn.ask("/channels/updates/", Host="sluice.example.org")
        assert_seen(heading, f"{answer.status} {gunicorn.log}")
        assert_proved(heading, manage())
    with Gunicorn(tmp_path, fix) as gunicorn:
        # the name is accepted
        assert gunicorn.ask("/channels/updates/", Host="sluice.example.org").status == 404
        assert_refuted(heading, manage(**fix))


def test_a_post_from_another_scheme(tmp_path: Path) -> None:
    """For example https, if a proxy in front did not say so."""
    heading, fix = "403 to a POST, Origin checking failed", {"SITE_URL": "https://localhost"}
    page = {"Host": "localhost", "Origin": "https://localhost"}
    with Gunicorn(tmp_path) as gunicorn:
        answer = gunicorn.ask("/accounts/login/", method="POST", **page)
        assert_seen(heading, f"{answer.status} {gunicorn.log}")
        assert_proved(heading, manage())
    (tmp_path / "cured").mkdir()
    with Gunicorn(tmp_path / "cured", fix) as gunicorn:
        gunicorn.ask("/accounts/login/", method="POST", **page)
        wait_until(lambda: "CSRF cookie not set" in gunicorn.log, 10, "the next of Django's questions")
        assert "Origin checking failed" not in gunicorn.log
        assert_refuted(heading, manage(**fix))
