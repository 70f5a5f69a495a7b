"""MONITORING=yes: who sees Prometheus through nginx, and nginx's own metrics."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from config.nginx_lab import Nginx, Probe, exchange, head
from harness.servers import free_port


class Monitored(Nginx):
    """nginx, with its metrics on a port of the test's own."""

    metrics_port = 0

    def lay_out(self) -> None:
        super().lay_out()
        self.metrics_port = free_port()
        self.adapt("metrics.conf", "listen 9108;", f"listen 127.0.0.1:{self.metrics_port};")

    def adapt(self, name: str, old: str, new: str) -> None:
        file = self.folder / "etc/container" / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))


@contextlib.contextmanager
def monitored(
    folder: Path, kind: type[Monitored] = Monitored, **settings: str
) -> Iterator[tuple[Monitored, Probe, Probe, int]]:
    """nginx, wsgi, prometheus, and the port of nginx's metrics."""
    folder.mkdir(exist_ok=True)
    with Probe("wsgi") as wsgi, Probe("prometheus") as prometheus:
        given = {
            "MONITORING": "yes",
            "EXPOSE_BACKEND": "yes",
            "WSGI_ADDRESS": wsgi.address,
            "PROMETHEUS_ADDRESS": prometheus.address,
            **settings,
        }
        with kind(folder, given) as nginx:
            yield nginx, wsgi, prometheus, nginx.metrics_port


@pytest.mark.parametrize("prefix", ["", "/catmaid"], ids=lambda prefix: prefix or "no prefix")
def test_an_allowed_network_reaches_prometheus_without_the_site(tmp_path: Path, prefix: str) -> None:
    with monitored(tmp_path, METRICS_ALLOW="127.0.0.1", URL_PREFIX=prefix) as (nginx, wsgi, _, _):
        answer = nginx.send(f"{prefix}/monitoring/api/v1/query?query=up%7B%7D", headers={"Cookie": "a=b"})
        assert (answer.status, answer.made_by) == (200, "prometheus")
        assert answer.received.target == "/api/v1/query?query=up%7B%7D"
        assert not answer.received.all("Cookie")
        assert not wsgi.heads
        assert nginx.send(f"{prefix}/monitoring/graph").received.target == "/graph"
        assert nginx.send("//monitoring/" if prefix else "/monitoring").made_by != "prometheus"


def test_elsewhere_the_site_decides_and_sees_whose_session_it_is(tmp_path: Path) -> None:
    with monitored(tmp_path, METRICS_ALLOW="10.0.0.0/8", URL_PREFIX="/catmaid") as (
        nginx,
        wsgi,
        prometheus,
        _,
    ):
        answer = nginx.send("/catmaid/monitoring/graph", headers={"Cookie": "sessionid=x"})
        assert answer.made_by == "prometheus"
        (asked,) = wsgi.heads
        assert asked.startswith(b"GET /monitoring/access/ HTTP/1.1") and b"Cookie: sessionid=x" in asked
        assert len(prometheus.heads) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_whom_the_site_does_not_let_in_is_told_what_to_do(tmp_path: Path, status: int) -> None:
    asks = "/monitoring/access/;"

    class Refusing(Monitored):
        def lay_out(self) -> None:
            super().lay_out()
            self.adapt("monitoring.conf", asks, f"/monitoring/access/?status={status};")

    with monitored(tmp_path, Refusing, METRICS_ALLOW="10.0.0.0/8") as (nginx, wsgi, prometheus, _):
        answer = nginx.send("/monitoring/graph")
        assert answer.status == 403 and answer.made_by == "nginx"
        assert "add your address, 127.0.0.1, to that setting" in answer.text
        assert wsgi.heads and not prometheus.heads


def test_without_gunicorn_an_allowed_network_still_sees_it(tmp_path: Path) -> None:
    gone = f"127.0.0.1:{free_port()}"
    with monitored(tmp_path / "a", METRICS_ALLOW="127.0.0.1", WSGI_ADDRESS=gone) as (nginx, *_):
        assert nginx.send("/monitoring/graph").made_by == "prometheus"
    with monitored(tmp_path / "b", METRICS_ALLOW="10.0.0.1", WSGI_ADDRESS=gone) as (nginx, *_):
        assert nginx.send("/monitoring/graph").status == 403


def test_without_prometheus_the_answer_names_it(tmp_path: Path) -> None:
    gone = f"127.0.0.1:{free_port()}"
    with monitored(tmp_path, METRICS_ALLOW="127.0.0.1", PROMETHEUS_ADDRESS=gone) as (nginx, *_):
        answer = nginx.send("/monitoring/graph")
        assert answer.status == 503 and "Prometheus doesn't answer" in answer.text


def test_nginx_has_metrics_of_its_own_on_another_port(tmp_path: Path) -> None:
    with monitored(tmp_path, MAX_CLIENTS="700") as (nginx, _, _, port):
        answer = exchange(port, head("/metrics"))
        found = {
            sample.name: sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }
        assert answer.one("Content-Type").startswith("text/plain; version=0.0.4")
        assert found["nginx_connections_active"] >= 1
        assert found["sluice_nginx_max_clients"] == 700
        assert found["sluice_nginx_connections_total"] > 0
        assert exchange(port, head("/")).status == 404
        assert nginx.send("/metrics").made_by == "wsgi"  # of the site, which has no such page


def test_without_monitoring_there_is_neither(tmp_path: Path) -> None:
    with (
        Probe("wsgi") as wsgi,
        Nginx(tmp_path, {"WSGI_ADDRESS": wsgi.address, "EXPOSE_BACKEND": "yes"}) as nginx,
    ):
        assert nginx.send("/monitoring/graph").made_by == "wsgi"
        assert "container/metrics.conf" not in (nginx.folder / "run/place.conf").read_text()
