"""Metrics of programs with several processes: a real Gunicorn, and the memory that its workers share."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.servers import free_port
from harness.waiting import wait_until
from sluice_stack.monitoring.figures import Figures, cumulative, slots
from sluice_stack.monitoring.slots import Slots

APPLICATION = """
import os

import django

django.setup()


def application(environ, start_response):
    status = {"/missing": "404 Not Found", "/broken": "500 Broken"}.get(environ["PATH_INFO"], "200 OK")
    start_response(status, [("X-Pid", str(os.getpid())), ("Content-Length", "0")])
    return []
"""


def get(port: int, path: str) -> tuple[dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return dict(response.getheaders()), response.read().decode()
    finally:
        connection.close()


def total(port: int, name: str) -> float:
    """Of the series, labels in the order of the text."""
    _, text = get(port, "/metrics")
    (value,) = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(value)


@pytest.fixture
def gunicorn(tmp_path: Path, environment_of_others: dict[str, str]) -> Iterator[tuple[int, int, int]]:
    """The port of the site, that of the metrics, the master's pid."""
    (tmp_path / "app.py").write_text(APPLICATION)
    site, port = free_port(), free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--config", "python:sluice_stack.gunicorn.configuration", "app"],
        cwd=Path(__file__).parent,
        env={
            **environment_of_others,
            "PYTHONPATH": f"{tmp_path}{os.pathsep}{environment_of_others['PYTHONPATH']}",
            "WSGI_BIND": f"127.0.0.1:{site}",
            "METRICS_BIND": f"127.0.0.1:{port}",
            "WSGI_WORKERS": "2",
        },
    )
    try:
        wait_until(lambda: answers(port), 20, "Gunicorn's metrics", fatal=lambda: ended(process))
        yield site, port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def answers(port: int) -> bool:
    try:
        return total(port, "sluice_workers") == 2
    except OSError:
        return False


def ended(process: subprocess.Popen[bytes]) -> str | None:
    return None if process.poll() is None else f"it ended with {process.returncode}"


def test_any_worker_answers_for_all_also_for_those_that_have_ended(gunicorn: tuple[int, int, int]) -> None:
    site, port, _ = gunicorn
    pids: set[str] = set()
    asked = 0
    while len(pids) < 2 or asked < 40:  # until both have served some
        headers, _ = get(site, "/missing" if asked % 2 else "/")
        pids.add(headers["X-Pid"])
        asked += 1
        assert asked < 2000
    get(site, "/broken")
    get(site, "/healthz")

    def counted(status: str) -> float:
        return total(port, f'sluice_http_requests_total{{status="{status}"}}')

    def sums() -> tuple[float, float, float]:
        return counted("2xx"), counted("4xx"), counted("5xx")

    expected = (-(-asked // 2), asked // 2, 1)
    wait_until(lambda: sums() == expected, 5, "the other worker's numbers")
    for pid in pids:  # at once: what it has counted is in the memory already
        os.kill(int(pid), signal.SIGKILL)
    wait_until(lambda: answers(port), 20, "two new workers")
    assert sums() == expected
    assert total(port, "sluice_http_request_seconds_count") == asked + 1
    assert total(port, "sluice_http_requests_running") == 0


def test_a_slot_outlives_its_process_but_its_gauges_do_not() -> None:
    shared = Slots(["events", "running"], 2, gauges=["running"])
    shared.write(1, {"events": 3, "running": 1})
    shared.write(0, {"events": 2, "running": 1})
    assert shared.total() == {"events": 5, "running": 2}
    shared.end(1)
    assert shared.total() == {"events": 5, "running": 1}
    assert shared.base(1) == {"events": 3, "running": 0}


def test_a_process_that_follows_another_adds_to_its_counters() -> None:
    shared = slots(["success"], 1)
    for _ in range(2):
        figures = Figures(shared, 0)
        figures.end("success", figures.begin())
        figures.publish(now=True)
    total = shared.total()
    assert (total["success"], total["processes"], total["running"]) == (2, 1, 0)
    assert cumulative(total)[-1] == ("+Inf", 2)
