"""The metrics of a real Daphne, as Prometheus reads them."""

from __future__ import annotations

import ast
import asyncio
import http.client
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import sluice_updates
from harness.servers import free_port
from harness.waiting import wait_until
from sluice_updates import metrics
from sluice_updates.metrics import Histogram
from updates_lab.site import SOON, Events, Person, Served, Site

SOURCE = Path(sluice_updates.__file__).parent


def scrape(port: int, path: str = "/metrics", method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def values(port: int) -> dict[str, float]:
    """By name and labels, as in the text: `sluice_closes_total{code="4001"}`."""
    status, text = scrape(port)
    assert status == 200
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def test_it_counts_what_the_hub_does(serve: Callable[..., Served], site: Site, person: Person) -> None:
    port = free_port()
    served = serve(HUBSITE_METRICS=f"127.0.0.1:{port}")
    before = values(port)
    assert before["sluice_deliveries_total"] == 0
    with served.connect(person) as socket, Events(served, person) as events:
        socket.hello()
        events.next()
        site.send(person.stream, 1, 2, 3)
        assert socket.numbers(3) == [1, 2, 3]
        now = values(port)
        assert now['sluice_connections{transport="websocket"}'] == 1
        assert now['sluice_connections{transport="sse"}'] == 1
        assert now["sluice_people"] == 1
        assert now["sluice_admissions_waiting"] == 0
        assert now["sluice_updates_total"] - before["sluice_updates_total"] == 3
        assert now["sluice_deliveries_total"] == 6
        assert now["sluice_publish_to_write_seconds_count"] == 3
        assert 0 < now["sluice_publish_to_write_seconds_sum"] < 3 * SOON
        assert now["sluice_database_up"] == 1
        assert now['sluice_health{status="ok"}'] + now['sluice_health{status="degraded"}'] == 1
        assert 0 < now["process_open_fds"] < now["process_max_fds"]
    with served.connect(person, f"since={person.stream}/{site.heads(person.stream)[person.stream]}") as again:
        again.hello()
    with served.connect(None) as stranger:
        assert stranger.close_code() == 4001
    after = values(port)
    assert after['sluice_resumes_total{recovered="true"}'] == 1
    assert after['sluice_closes_total{code="4001"}'] == 1
    assert after['sluice_connections_opened_total{transport="websocket"}'] == 3
    wait_until(lambda: values(port)['sluice_connections{transport="websocket"}'] == 0, SOON, "all gone")


def test_a_wake_up_carries_when_its_updates_were_published_and_an_old_one_does_not(
    serve: Callable[..., Served], site: Site, person: Person
) -> None:
    port = free_port()
    served = serve(HUBSITE_METRICS=f"127.0.0.1:{port}", HUBSITE_LIMITS='{"POLL_SECONDS": 60}')
    with served.connect(person) as socket:
        socket.hello()
        site.send(person.stream, 1)
        served.wake(site.wake_ups(person.stream))  # without the list, like a sender of an older version
        assert socket.numbers(1) == [1]
        assert values(port)["sluice_publish_to_write_seconds_count"] == 0


def test_only_one_path_is_served_and_none_of_the_sites(serve: Callable[..., Served]) -> None:
    port = free_port()
    served = serve(HUBSITE_METRICS=f"127.0.0.1:{port}")
    assert scrape(port, "/")[0] == 404
    assert scrape(port, "/channels/healthz")[0] == 404
    assert scrape(port, "/metrics?x", "HEAD") == (200, "")
    for path in ("/metrics", "/channels/metrics"):
        assert served.get(path)[0] == 404


def test_a_second_process_takes_the_next_port(serve: Callable[..., Served]) -> None:
    port = free_port()
    serve(HUBSITE_METRICS=f"127.0.0.1:{port}")
    second = serve(HUBSITE_METRICS=f"127.0.0.1:{port}")
    wait_until(lambda: "metrics at http://127.0.0.1:" in second.text(), SOON, "its line in the log")
    other = int(re.findall(r"metrics at http://127.0.0.1:(\d+)/metrics", second.text())[-1])
    assert other > port
    assert 'sluice_build_info{program="asgi"' in scrape(other)[1]


def test_without_the_setting_the_package_is_not_imported() -> None:
    code = (
        "import sys, django; from django.conf import settings;"
        "settings.configure(INSTALLED_APPS=['django.contrib.contenttypes', 'django.contrib.auth',"
        " 'sluice_updates']); django.setup();"
        "import sluice_updates.asgi.routes, sluice_updates.server.daphne, sluice_updates.monitoring as m;"
        "assert m.start('') is None; assert 'prometheus_client' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_the_package_the_log_says_what_to_install() -> None:
    code = (
        "import logging, sys; logging.basicConfig(); sys.modules['prometheus_client'] = None;"
        "import importlib.util as u; find = u.find_spec;"
        "u.find_spec = lambda name, *more: None if name == 'prometheus_client' else find(name, *more);"
        "from sluice_updates import monitoring; assert monitoring.start('127.0.0.1:1') is None"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True
    )
    assert "install sluice-updates[metrics]" in done.stderr


def test_every_counter_of_the_code_has_a_metric() -> None:
    from sluice_updates.monitoring.collector import COUNTERS

    counted: dict[str, set[str]] = {}
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "count":
                name = node.args[0]
                assert isinstance(name, ast.Constant) and isinstance(name.value, str), file
                counted[name.value] = {
                    str(keyword.arg) for keyword in node.keywords if keyword.arg != "amount"
                }
    assert {name: set(labels) for name, (_, labels, _) in COUNTERS.items()} == counted


def test_a_scrape_and_a_broadcast_take_far_less_than_two_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 15 s, the usual time between scrapes, with 5,000 connections; of 13 ms, a broadcast to 1,000."""
    from sluice_updates.monitoring import collector
    from sluice_updates.push.hub import Hub

    class Client:
        TRANSPORT = "websocket"

    loop = asyncio.new_event_loop()
    hub = Hub(loop)
    hub.people.connections.update(Client() for _ in range(5000))  # type: ignore[misc]
    monkeypatch.setattr(collector, "running_hubs", lambda: [hub])
    found = collector.registry("asgi", *collector.of_this_process(sender=False))
    began = time.thread_time()
    _, text = collector.render(found)
    assert time.thread_time() - began < 0.02 * 15 / 2
    assert b'sluice_connections{transport="websocket"} 5000.0' in text
    began = time.thread_time()
    for _ in range(1000):
        metrics.written([1.0])
    assert (time.thread_time() - began) / 1000 < 0.02 * 0.013 / 2
    loop.close()


def test_a_value_is_in_the_first_bucket_that_holds_it() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 1.0, 2.0):
        histogram.observe(value)
    assert histogram.cumulative() == [("0.1", 2.0), ("1.0", 4.0), ("+Inf", 5.0)]
    assert histogram.sum == 3.65
