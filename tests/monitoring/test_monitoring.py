"""`make up MONITORING=yes` on a stack of its own: every program is scraped, alerts fire when services are
really stopped, and only staff see Prometheus.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import requests

from harness.checker import Checker
from harness.stack import SERVICES, Stack
from harness.waiting import wait_until

SCRAPED = {"nginx", "wsgi", "asgi", "worker", "celery", "beat", "rabbitmq", "prometheus"}
# A scrape and an evaluation every 15 s, the minute of the slowest alert here, and a busy machine.
SOON = 240.0


@pytest.fixture(scope="module")
def stack(image_tag: str) -> Iterator[Stack]:
    with Stack(image_tag, {"MONITORING": "yes", "COMPOSE_PROFILES": "monitoring"}) as stack:
        stack.service("prometheus").wait_healthy()
        yield stack


def query(stack: Stack, expression: str) -> list[str]:
    """What Prometheus answers, a line for each series."""
    done = stack.service("prometheus").exec(
        "promtool", "query", "instant", "http://127.0.0.1:9090", expression
    )
    assert done.code == 0, done.output
    return [line for line in done.output.splitlines() if " => " in line]


def value(stack: Stack, expression: str) -> float:
    """Of the only series; 0 if there is none."""
    lines = query(stack, expression)
    assert len(lines) <= 1, lines
    return float(lines[0].split(" => ")[1].split(" @")[0]) if lines else 0.0


def firing(stack: Stack) -> set[tuple[str, str]]:
    """The alerts that fire, by name and job."""
    found = set()
    for line in query(stack, 'ALERTS{alertstate="firing"}'):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
        found.add((labels["alertname"], labels.get("job", "")))
    return found


def test_every_program_is_scraped_and_no_alert_fires(stack: Stack) -> None:
    up = "count by (job) (up == 1)"

    def jobs() -> set[str]:
        return set(re.findall(r'job="(\w+)"', "\n".join(query(stack, up))))

    wait_until(lambda: jobs() == SCRAPED, SOON, "a scrape of every program")
    programs = "\n".join(query(stack, "count by (program) (sluice_build_info)"))
    assert set(re.findall(r'program="(\w+)"', programs)) == {"wsgi", "asgi", "worker", "celery", "beat"}
    assert value(stack, "sum(sluice_layer_up)") == 1
    beating = "count(sluice_heartbeat_age_seconds < 20)"
    wait_until(lambda: value(stack, beating) == 3, SOON, "the heartbeats of both workers and beat")
    assert value(stack, "sum(rabbitmq_alarms_memory_used_watermark)") == 0
    assert firing(stack) == set()


def test_the_numbers_are_those_of_what_happens(stack: Stack) -> None:
    before = value(stack, "sum(sluice_deliveries_total)")
    alice = stack.browser("alice")
    with Checker(stack) as checker:
        checker.client("alice")
        alice.send_message("alice", "Counted")
        wait_until(lambda: value(stack, "sum(sluice_connections)") == 1, SOON, "the open connection")
        wait_until(
            lambda: value(stack, "sum(sluice_deliveries_total)") == before + 1,
            SOON,
            "the update to be counted",
        )
    assert value(stack, "sum(sluice_publish_to_write_seconds_count)") >= 1
    served = 'sum(sluice_http_requests_total{status="2xx"})'
    wait_until(lambda: value(stack, served) >= 1, SOON, served)
    announced = 'sum(sluice_sender_announced_total{job="wsgi"})'
    wait_until(lambda: value(stack, announced) >= 1, SOON, announced)


def test_staff_see_prometheus_and_nobody_else(stack: Stack) -> None:
    page = f"{stack.url}/monitoring/consoles/sluice.html"
    stranger = requests.get(page, timeout=10)
    assert stranger.status_code == 403 and "METRICS_ALLOW" in stranger.text
    browser = stack.browser("bob")
    assert browser.get("/monitoring/consoles/sluice.html").status_code == 403
    stack.manage(
        "from django.contrib.auth.models import User;"
        f"User.objects.filter(username={browser.name!r}).update(is_staff=True)"
    )
    seen = browser.get("/monitoring/consoles/sluice.html")
    assert seen.status_code == 200
    assert "publish to write, median" in seen.text and "error" not in seen.text.lower().replace("errors", "")
    assert browser.get("/monitoring/api/v1/query?query=up").json()["status"] == "success"


@pytest.mark.timeout(900)
def test_alerts_fire_for_services_that_are_really_gone_and_end_with_the_fault(stack: Stack) -> None:
    stack.service("celery").stop()
    stack.service("rabbitmq").stop()
    stack.service("postgres")[0].pause()
    wanted = {("ServiceDown", "celery"), ("BrokerDown", "rabbitmq"), ("DatabaseDown", "asgi")}
    try:
        wait_until(lambda: wanted <= firing(stack), SOON, f"the alerts {wanted}")
    finally:
        stack.service("postgres")[0].resume()
        stack.service("postgres").wait_healthy()
        stack.service("rabbitmq").start()
        stack.service("celery").start()
    for name in SERVICES:
        stack.service(name).wait_healthy()
    # Others, about what failed in the last minutes, go on for as long as those are remembered.
    wait_until(lambda: not wanted & firing(stack), SOON, "the end of these alerts")


def test_grafanas_dashboard_asks_for_metrics_that_there_are(stack: Stack) -> None:
    """Every name in it; of a few there is nothing before the first event."""
    from config.test_dashboard import names

    later = {"sluice_closes_total", "sluice_resumes_total", "sluice_messages_total", "ALERTS"}
    wait_until(
        lambda: not [name for name in names() - later if not query(stack, f"count({name})")],
        SOON,
        "each metric of the dashboard",
    )
