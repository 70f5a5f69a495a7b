"""docs/grafana.json and Prometheus' plain page ask only for metrics that the documentation has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.compose import SOURCE

DASHBOARD = SOURCE / "docs/grafana.json"
PAGE = SOURCE / "images/prometheus/sluice.html"
RULES = SOURCE / "images/prometheus/rules.yml"
# Prometheus' own, RabbitMQ's, and what every client library has.
FOREIGN = {
    "ALERTS",
    "up",
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "rabbitmq_alarms_free_disk_space_watermark",
    "rabbitmq_alarms_memory_used_watermark",
    "rabbitmq_queue_messages_ready",
    "rabbitmq_queue_messages_unacked",
}
NAME = re.compile(r"\b(?:sluice|nginx|rabbitmq|process)_[a-z_]+\b|\bALERTS\b|\bup\b(?=[){ ])")


def names() -> set[str]:
    """The metrics of the dashboard."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return set(
        NAME.findall("\n".join(target["expr"] for panel in panels for target in panel.get("targets", [])))
    )


def documented() -> set[str]:
    page = (SOURCE / "docs/how-to/monitor.md").read_text()
    return set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


@pytest.mark.parametrize("file", [DASHBOARD, PAGE, RULES], ids=lambda file: file.name)
def test_each_metric_in_it_is_on_the_page(file: Path) -> None:
    found = set(NAME.findall(file.read_text())) - {"nginx_max_clients"}
    assert found
    plain = {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}
    assert plain - FOREIGN <= documented()


def test_each_metric_of_the_packages_is_on_the_page() -> None:
    sources = "\n".join(
        file.read_text()
        for file in SOURCE.glob("packages/*/src/*/monitoring/*.py")
        if file.name in ("collector.py", "collectors.py")
    )
    plain = {re.sub(r"_total$", "", name) for name in documented()}
    for name in re.findall(r'"(sluice_\w+)"', sources):
        assert name in plain | {"sluice_build_info"}, name
