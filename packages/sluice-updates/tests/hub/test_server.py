"""The server: a graceful stop, its socket, and stock Daphne as a replacement."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.symptoms import OWN_DAPHNES, assert_refuted
from harness.waiting import wait_until
from updates_lab.site import SOON, Events, Person, Served, Site, environment

Serve = Callable[..., Served]


def test_sigterm_sends_1012_runs_every_disconnect_and_exits_0(
    serve: Serve, site: Site, person: Person
) -> None:
    served = serve()
    with (
        served.connect(person) as updates,
        served.connect(person, subprotocols=[]) as old,
        served.connect(person, path="/channels/echo/") as echo,
        Events(served, person) as events,
    ):
        updates.hello(), echo.frame(), events.next()
        assert_refuted("1006 at each restart", OWN_DAPHNES)
        served.signal()
        assert updates.close_code() == 1012
        assert old.close_code() == 1012
        assert echo.close_code() == 1012
        assert events.next() == {"event": "close", "data": {"code": 1012}}
        assert events.next() is None
    assert served.end() == 0
    assert "echo disconnected 1012" in served.text()
    assert "Traceback" not in served.text()


def test_a_project_without_updates_may_use_the_server(serve: Serve) -> None:
    served = serve("-m", "sluice_updates.server", "hubsite.without_updates:application")
    with served.connect(path="/ws/echo/", subprotocols=[]) as echo:
        echo.send({"a": 1})
        assert echo.frame() == {"a": 1}
        served.signal()
        assert echo.close_code() == 1012
    assert served.end() == 0
    assert "echo disconnected 1012" in served.text()
    assert "Traceback" not in served.text()


@pytest.mark.parametrize(
    "path", ["/", "/admin/", "/channels/", "/channels/updates/", "/channels/healthz/", "/%00"]
)
def test_nothing_else_is_served(served: Served, path: str) -> None:
    status, headers, body = served.get(path)
    assert (status, headers["x-backend"], body) == (404, "asgi", b"Not found.\n")


def test_1012_is_spread_over_the_drain(serve: Serve, site: Site, person: Person) -> None:
    served = serve(HUBSITE_LIMITS='{"RECONNECTS_PER_SECOND": 10}')
    with ExitStack() as stack:
        sockets = [stack.enter_context(served.connect(person)) for _ in range(20)]
        for one in sockets:
            one.hello()
        began = time.monotonic()
        served.signal()
        wait_until(lambda: "stopping: 20" in served.text(), SOON, "the drain")
        wait_until(lambda: _refuses(served), SOON, "the end of listening")
        assert {one.close_code() for one in sockets} == {1012}
        assert 1.5 < time.monotonic() - began < 5
    assert served.end() == 0


def test_1012_is_spread_for_a_few_clients_too(serve: Serve, site: Site, person: Person) -> None:
    served = serve()
    with ExitStack() as stack:
        sockets = [stack.enter_context(served.connect(person)) for _ in range(5)]
        for one in sockets:
            one.hello()
        began = time.monotonic()
        served.signal()
        assert {one.close_code() for one in sockets} == {1012}
        assert time.monotonic() - began > 1.5
    assert served.end() == 0


def test_unresponsive_clients_do_not_delay_the_stop(serve: Serve, person: Person) -> None:
    served = serve()
    with served.raw() as half, served.raw() as mute:
        half.sendall(b"GET /channels/updates/ HTTP/1.1\r\nHost: ")  # a handshake that never ends
        mute.sendall(served.handshake(person))
        wait_until(lambda: b"hello" in mute.recv(65536), SOON, "hello")
        began = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - began < 5
    assert "Traceback" not in served.text()


def test_a_second_signal_does_not_wait(serve: Serve, person: Person) -> None:
    served = serve(HUBSITE_LIMITS='{"RECONNECTS_PER_SECOND": 0.1}')
    with served.connect(person) as one, served.connect(person) as two:
        one.hello(), two.hello()
        served.signal()
        wait_until(lambda: "stopping: 2" in served.text(), SOON, "the drain")
        served.signal()  # ignored, because it comes too soon after the first
        wait_until(lambda: _heard_again(served), SOON, "the server to take the signal", every=1.1)
    assert served.end() == 0


def test_a_stopping_server_is_not_healthy(serve: Serve, person: Person) -> None:
    served = serve(HUBSITE_LIMITS='{"RECONNECTS_PER_SECOND": 1}')
    kept = http.client.HTTPConnection("127.0.0.1", served.port, timeout=SOON)
    kept.request("GET", "/channels/healthz")
    assert kept.getresponse().read()
    with served.connect(person) as one, served.connect(person) as two:
        one.hello(), two.hello()
        served.signal()
        wait_until(lambda: "stopping: 2" in served.text(), SOON, "the drain")
        kept.request("GET", "/channels/healthz")
        response = kept.getresponse()
        assert (response.status, b"stopping" in response.read()) == (503, True)
    kept.close()
    assert served.end() == 0


def test_a_port_that_is_taken_is_an_error(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "sluice_updates.server",
                "--port",
                str(taken.getsockname()[1]),
                "hubsite.asgi:application",
            ],
            env=environment(DATABASE_URL=site.database_url),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.returncode == 1
    assert "Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_project_needs_no_application_of_its_own(serve: Serve, site: Site, person: Person) -> None:
    """With DJANGO_SETTINGS_MODULE alone: no file, no ASGI_APPLICATION."""
    served = serve("-m", "sluice_updates.server")
    with served.connect(person) as socket:
        socket.hello()
        site.send(person.stream, 1)
        assert socket.numbers(1) == [1]
    assert served.get("/")[0] == 404
    assert served.stop() == 0


def test_it_names_missing_settings() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sluice_updates.server", "--port", "0"],
        env={name: value for name, value in environment().items() if name != "DJANGO_SETTINGS_MODULE"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "sluice_updates.server: there are no settings; set DJANGO_SETTINGS_MODULE, or pass MODULE:NAME of an"
        " application"
    )


def test_the_backlog_is_raised_on_an_inherited_socket_too(served: Served) -> None:
    listed = subprocess.run(["ss", "-Hltn", f"sport = :{served.port}"], capture_output=True, text=True).stdout
    somaxconn = int(Path("/proc/sys/net/core/somaxconn").read_text())
    assert int(listed.split()[2]) == min(4096, somaxconn)


def test_stock_daphne_serves_the_same(serve: Serve, site: Site, person: Person) -> None:
    served = serve(
        "-c",
        "import sys, daphne.cli; daphne.cli.CommandLineInterface().run(sys.argv[1:])",
        "--fd",
        "0",
        "hubsite.asgi:application",
        HUBSITE_LIMITS='{"POLL_SECONDS": 0.2}',
    )
    site.send(person.stream, 1)
    with served.connect(person, f"since={person.stream}/0-0") as socket, Events(served, person) as events:
        socket.hello(), events.next()
        site.send(person.stream, 2)
        assert socket.numbers(2) == [1, 2]
        assert events.next()["data"]["payload"]["message_id"] == 2  # type: ignore[index]
        site.sign_out(person.session)
        assert socket.close_code() == 4009
    with served.connect(session="nobody") as socket:
        assert socket.close_code() == 4001
    assert served.stop() == 0


def test_daphne_as_its_documentation_starts_it_pushes_what_was_committed(
    serve: Serve, site: Site, person: Person
) -> None:
    """`daphne -b 127.0.0.1 -p 8001 …`: the program itself, with the options of the old documentation."""
    daphne = str(Path(sys.executable).with_name("daphne"))
    served = serve(daphne, "-b", "127.0.0.1", "-p", "{port}", "hubsite.asgi:application")
    with served.connect(person) as socket:
        socket.hello()
        site.send(person.stream, 1, 2)
        assert socket.numbers(2) == [1, 2]
    assert served.stop() == 0


def test_a_loop_that_is_stuck_ends_the_process(serve: Serve, person: Person) -> None:
    served = serve(HUBSITE_LIMITS='{"LOOP_STUCK_SECONDS": 2}')
    with served.connect(person, path="/channels/echo/") as echo:
        echo.frame()
        echo.send({"block": 30})
        assert served.process.wait(15) == 70
    assert "the event loop is stuck" in served.text()
    assert "time.sleep" in served.text() or "receive_json" in served.text()  # the place where it hung


def _heard_again(served: Served) -> bool:
    served.signal()
    return "second signal" in served.text()


def _refuses(served: Served) -> bool:
    try:
        served.raw().close()
    except ConnectionRefusedError:
        return True
    return False
