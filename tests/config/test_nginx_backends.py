"""nginx while both backends start, stop, fail, stream and change their addresses."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.nginx_lab import UPGRADE, NameServer, Nginx, Probe, exchange, head, lab, read_answer
from harness.servers import free_port
from harness.symptoms import assert_proved, assert_refuted
from harness.waiting import wait_until

Site = tuple[Nginx, Probe, Probe]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with lab(tmp_path_factory.mktemp("nginx")) as running:
        yield running


# --- with and without a backend -----------------------------------------------------------------------------


@pytest.mark.parametrize("wsgi", ["127.0.0.1:{free}", "wsgi:8000"], ids=["address", "name"])
def test_nginx_runs_alone_and_says_in_words_what_is_missing(tmp_path: Path, wsgi: str, site: Site) -> None:
    with NameServer() as names:
        address = wsgi.format(free=free_port())
        settings = {
            "EXPOSE_BACKEND": "yes",
            "WSGI_ADDRESS": address,
            "ASGI_ADDRESS": address.replace("wsgi", "asgi"),
            "ASGI_PREFIXES": "/channels/ /ws/",
        }
        with Nginx(tmp_path, settings, resolver_port=names.port) as nginx:
            for service, target in (
                ("wsgi", "/"),
                ("asgi", "/channels/healthz"),
                ("asgi", "/channels/updates/sse"),
                ("asgi", "/channels/updates/"),
                ("asgi", "/ws/status/"),
            ):
                began = time.monotonic()
                answer = nginx.upgrade(target)
                assert time.monotonic() - began < 2
                assert (answer.status, answer.made_by, answer.one("Retry-After")) == (503, "nginx", "5")
                assert f'the service "{service}" isn\'t there' in answer.text
                assert f"docker compose logs {service}" in answer.text
            assert exchange(nginx.health_port, head("/healthz")).status == 200
    cause = "could not be resolved" if address == wsgi else "connect() failed"
    assert_proved("503, the service isn't there", _error_log(nginx), which=cause)
    assert site[0].upgrade("/channels/updates/").status == 101
    assert_refuted("503, the service isn't there", _error_log(site[0]))


def _error_log(nginx: Nginx) -> dict[str, str]:
    return {"/var/log/nginx/error.log": f"{nginx.folder}/log"}


def test_an_address_that_swallows_connections_costs_two_seconds_at_most(tmp_path: Path) -> None:
    with _black_hole() as address, Nginx(tmp_path, {"WSGI_ADDRESS": address}) as nginx:
        began = time.monotonic()
        answer = nginx.send("/", method="POST")
        assert (answer.status, 'the service "wsgi"' in answer.text) == (503, True)
        assert 0.5 < time.monotonic() - began < 2
        assert_proved("503, the service isn't there", _error_log(nginx), which="timed out")


def test_a_backends_own_errors_go_through(site: Site) -> None:
    nginx, _, _ = site
    for status in (400, 404, 405, 413, 426, 429, 500, 502, 503, 504):
        for path, backend in (("/", "wsgi"), ("/channels/updates/sse", "asgi")):
            answer = nginx.send(f"{path}?status={status}")
            assert (answer.status, answer.made_by) == (status, backend)


def test_a_backend_that_breaks_off_is_named(site: Site) -> None:
    nginx, _, _ = site
    for path, service in (("/?drop=1", "wsgi"), ("/channels/updates/?drop=1", "asgi")):
        answer = nginx.upgrade(path)
        assert (answer.status, answer.made_by) == (502, "nginx")
        assert f'the service "{service}" gave no proper answer' in answer.text


class _Impatient(Nginx):
    def lay_out(self) -> None:
        super().lay_out()
        snippet = self.folder / "etc/snippets/sluice/wsgi.conf"
        text = snippet.read_text()
        assert "proxy_read_timeout 60s;" in text
        snippet.write_text(text.replace("proxy_read_timeout 60s;", "proxy_read_timeout 1s;"))


def test_a_slow_backend_is_named_and_tried_again_later(tmp_path: Path) -> None:
    """The time limit is one second here, instead of a minute."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = "{}:{}".format(*silent.getsockname())
        with _Impatient(tmp_path, {"WSGI_ADDRESS": address, "EXPOSE_BACKEND": "yes"}) as nginx:
            answer = nginx.send("/updates/")
    assert (answer.status, answer.made_by, answer.one("Retry-After")) == (504, "nginx", "5")
    assert 'the service "wsgi" didn\'t answer in time' in answer.text


class _OnAHost(Nginx):
    def lay_out(self) -> None:
        super().lay_out()
        group = f"upstream daphnes {{ server unix:{self.folder}/one; server unix:{self.folder}/two; }}"
        self.edit_place(
            {
                '"wsgi:8000"': f'"unix:{self.folder}/wsgi"',
                '"asgi:8001"': "daphnes",
                "limit_req_zone": f"{group}\nlimit_req_zone",
            }
        )


def test_a_host_may_use_local_sockets_and_groups_of_them(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        wsgi, one, two = (
            stack.enter_context(Probe(name, f"unix:{tmp_path}/{file}"))
            for name, file in (("wsgi", "wsgi"), ("asgi", "one"), ("asgi", "two"))
        )
        nginx = stack.enter_context(_OnAHost(tmp_path, {"URL_PREFIX": "/catmaid"}))
        assert nginx.send("/catmaid/a%20b?c").received.target == "/a%20b?c"
        assert wsgi.heads
        for _ in range(4):
            assert nginx.upgrade("/catmaid/channels/updates/").status == 101
        assert one.heads
        assert two.heads


# --- names, replicas ----------------------------------------------------------------------------------------


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[tuple[Nginx, NameServer, int]]:
    """nginx, which finds both backends by name, at one port of several loopback addresses."""
    port = free_port()
    settings = {"EXPOSE_BACKEND": "yes", "WSGI_ADDRESS": f"wsgi:{port}", "ASGI_ADDRESS": f"asgi:{port}"}
    with NameServer() as names, Nginx(tmp_path, settings, resolver_port=names.port) as nginx:
        yield nginx, names, port


def test_a_backend_that_comes_or_moves_is_found_without_a_reload(
    replicas: tuple[Nginx, NameServer, int],
) -> None:
    nginx, names, port = replicas
    assert nginx.send("/").status == 503
    for address in ("127.0.0.2", "127.0.0.3"):
        with Probe("wsgi", address, port):
            names.names["wsgi"] = [address]
            # Ten requests in a row, because each nginx worker caches addresses separately.
            wait_until(lambda: {nginx.send("/").status for _ in range(10)} == {200}, 5, f"wsgi at {address}")
    assert nginx.send("/").status == 503


def test_all_replicas_get_their_share(replicas: tuple[Nginx, NameServer, int]) -> None:
    nginx, names, port = replicas
    addresses = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
    with contextlib.ExitStack() as stack:
        asgi = [stack.enter_context(Probe("asgi", address, port)) for address in addresses]
        names.names["asgi"] = addresses
        for _ in range(60):
            assert nginx.upgrade("/channels/updates/").status == 101
        assert all(len(probe.heads) >= 5 for probe in asgi), [len(probe.heads) for probe in asgi]


def test_a_removed_replica_costs_no_request_that_was_not_sent_to_it(
    replicas: tuple[Nginx, NameServer, int],
) -> None:
    nginx, names, port = replicas
    with Probe("wsgi", "127.0.0.2", port), Probe("wsgi", "127.0.0.3", port):
        names.names["wsgi"] = ["127.0.0.2", "127.0.0.3"]
        wait_until(lambda: nginx.send("/").status == 200, 5, "wsgi")
    with Probe("wsgi", "127.0.0.2", port) as left:  # the name still has both addresses
        for method in ("GET", "POST", "DELETE"):
            for _ in range(20):
                answer = nginx.send("/", method=method)
                assert (answer.status, answer.one("X-Probe")) == (200, left.address)


def test_a_replica_whose_machine_vanished_costs_a_second_and_no_request(
    replicas: tuple[Nginx, NameServer, int],
) -> None:
    nginx, names, port = replicas
    with Probe("wsgi", "127.0.0.2", port) as left, _black_hole("127.0.0.3", port):
        names.names["wsgi"] = ["127.0.0.2", "127.0.0.3"]
        times = []
        for method in ("POST", "GET") * 4:
            began = time.monotonic()
            answer = nginx.send("/", method=method)
            times.append(time.monotonic() - began)
            assert (answer.status, answer.one("X-Probe")) == (200, left.address)
        assert max(times) < 2, times


def test_a_broken_get_is_retried_at_another_replica_but_a_post_is_not(
    replicas: tuple[Nginx, NameServer, int],
) -> None:
    nginx, names, port = replicas
    with Probe("wsgi", "127.0.0.2", port) as one, Probe("wsgi", "127.0.0.3", port) as other:
        names.names["wsgi"] = ["127.0.0.2", "127.0.0.3"]
        wait_until(lambda: nginx.send("/").status == 200, 5, "wsgi")
        one.heads.clear()
        other.heads.clear()
        assert nginx.send("/?drop=1").status == 502
        assert len(one.heads) == len(other.heads) == 1
        assert nginx.send("/?drop=1", method="POST").status == 502
        assert len(one.heads) + len(other.heads) == 3


# --- streams ------------------------------------------------------------------------------------------------


def test_a_websocket_carries_bytes_both_ways_until_the_client_goes(site: Site) -> None:
    nginx, _, _ = site
    with socket.create_connection(("127.0.0.1", nginx.port), timeout=5) as wire:
        wire.sendall(head("/channels/updates/", headers=UPGRADE))
        assert read_answer(wire).status == 101
        for payload in (b"\x81\x05hello", bytes(range(256)) * 512):
            threading.Thread(target=wire.sendall, args=(payload,)).start()
            echoed = b""
            while len(echoed) < len(payload):
                echoed += wire.recv(65536)
            assert echoed == payload


def test_events_are_passed_on_as_they_come(site: Site) -> None:
    nginx, _, asgi = site
    with socket.create_connection(("127.0.0.1", nginx.port), timeout=5) as wire:
        wire.sendall(head("/channels/updates/sse?stream=1"))
        received = b""
        while b"data: one" not in received:
            received += wire.recv(65536)
        assert b"data: two" not in received
        asgi.go_on.set()
        while b"data: two" not in received:
            received += wire.recv(65536)


def test_daphne_cannot_send_a_client_to_a_protected_file(site: Site) -> None:
    nginx, _, _ = site
    nginx.media("secret.tiff", "secret")
    answer = nginx.send("/channels/healthz?header=X-Accel-Redirect:%20/protected-media/secret.tiff")
    assert (answer.status, answer.made_by) == (200, "asgi")
    assert "secret.tiff" in answer.text  # in the request that the probe received


def test_a_proxy_in_front_is_told_not_to_hold_events_back(site: Site) -> None:
    nginx, _, _ = site
    answer = nginx.send("/channels/updates/sse?header=X-Accel-Buffering:%20no")
    assert (answer.made_by, answer.all("X-Accel-Buffering")) == ("asgi", ["no"])


# --- limits -------------------------------------------------------------------------------------------------


def test_one_address_may_hold_so_many_connections_to_daphne_and_is_told_so(tmp_path: Path) -> None:
    settings = {
        "CHANNELS_PER_ADDRESS": "5",
        "CHANNELS_PER_ADDRESS_SECOND": "1000",
        "ASGI_PREFIXES": "/channels/ /ws/",
    }
    with lab(tmp_path, **settings) as (nginx, _, _), contextlib.ExitStack() as held:
        # The limit counts all ASGI prefixes together.
        for path in ("/channels/updates/", "/ws/a/", "/channels/updates/", "/ws/b/", "/ws/c/"):
            wire = held.enter_context(socket.create_connection(("127.0.0.1", nginx.port), timeout=5))
            wire.sendall(head(path, headers=UPGRADE))
            assert read_answer(wire).status == 101
        places = {"/var/log/nginx/sluice.access.log": f"{tmp_path}/log", "192.0.2.7": "127.0.0.1"}
        assert_refuted("429, too many connections", places)
        answer = nginx.upgrade("/channels/updates/")
        assert (answer.status, answer.made_by, answer.one("Retry-After")) == (429, "nginx", "30")
        assert_proved("429, too many connections", places)
        assert "too many connections" in answer.text
        assert nginx.upgrade("/ws/d/").status == 429
        assert nginx.send("/").status == 200
        held.close()
        wait_until(lambda: nginx.upgrade("/channels/updates/").status == 101, 5, "a free place")


def test_one_address_may_make_so_many_connections_to_daphne(tmp_path: Path) -> None:
    with lab(tmp_path, CHANNELS_PER_ADDRESS="20", CHANNELS_PER_ADDRESS_SECOND="1") as (nginx, _, asgi):
        statuses = [nginx.send("/channels/healthz").status for _ in range(40)]
        assert set(statuses) == {200, 429}
        assert 20 <= statuses.count(200) == len(asgi.heads) <= 25
        assert all(
            nginx.send("/").status == 200 and nginx.send("/channels/").status == 426 for _ in range(40)
        )


def test_a_body_larger_than_the_setting_is_refused(tmp_path: Path) -> None:
    with lab(tmp_path, MAX_BODY_SIZE="10k") as (nginx, wsgi, _):
        sent = [
            exchange(
                nginx.port, head("/", method="POST", headers={"Content-Length": str(size)}) + b"x" * size
            )
            for size in (10240, 10241)
        ]
        assert [(answer.status, answer.made_by) for answer in sent] == [(200, "wsgi"), (413, "nginx")]
        assert len(wsgi.heads) == 1


@contextlib.contextmanager
def _black_hole(host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """An address where connections are neither accepted nor refused: a listener with a full queue."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((host, port))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield "{}:{}".format(*listener.getsockname())
