"""The alert rules: promtool fires each of them, and none on a healthy system; each names a page with its fix.

tests/monitoring fires some of them by services that are really stopped.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.test_docs import anchors
from harness.compose import SOURCE

RULES = SOURCE / "images/prometheus/rules.yml"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}
TARGETS = ("nginx", "wsgi", "asgi", "worker", "celery", "beat", "rabbitmq")
ASGI = 'instance="asgi:9108",job="asgi"'
NOTIFIED = f'sluice_way_up{{{ASGI},way="notify"}}'
WSGI = 'instance="wsgi:9108",job="wsgi"'

# A system that is well, for twenty minutes. promtool's notation: start+step×samples.
# https://prometheus.io/docs/prometheus/2.53/configuration/unit_testing_rules/#series
HEALTHY = {
    **{f'up{{instance="{name}",job="{name}"}}': "1x80" for name in TARGETS},
    f"process_start_time_seconds{{{ASGI}}}": "1000x80",
    f"process_resident_memory_bytes{{{ASGI}}}": "150000000x80",
    f"process_open_fds{{{ASGI}}}": "5000x80",
    f"process_max_fds{{{ASGI}}}": "65536x80",
    'nginx_connections_active{job="nginx"}': "800x80",
    'sluice_nginx_max_clients{job="nginx"}': "5000x80",
    f'sluice_http_requests_total{{{WSGI},status="2xx"}}': "0+100x80",
    f'sluice_http_requests_total{{{WSGI},status="5xx"}}': "0+1x80",
    f'sluice_health{{{ASGI},status="deaf"}}': "0x80",
    f"sluice_database_up{{{ASGI}}}": "1x80",
    f"sluice_layer_up{{{ASGI}}}": "1x80",
    f"sluice_layer_configured{{{ASGI}}}": "1x80",
    NOTIFIED: "1x80",
    f'sluice_publish_to_write_seconds_bucket{{{ASGI},le="0.1"}}': "0+10x80",
    f'sluice_publish_to_write_seconds_bucket{{{ASGI},le="10.0"}}': "0+10x80",
    f'sluice_publish_to_write_seconds_bucket{{{ASGI},le="+Inf"}}': "0+10x80",
    f"sluice_updates_total{{{ASGI}}}": "0+10x80",
    f"sluice_wakeups_total{{{ASGI}}}": "0+10x80",
    f"sluice_updates_foreign_wake_ups_total{{{ASGI}}}": "7x80",
    f"sluice_sender_dropped_total{{{WSGI}}}": "0x80",
    f"sluice_sender_queue{{{WSGI}}}": "3x80",
    f"sluice_sender_down{{{WSGI}}}": "0x80",
    f"sluice_admissions_refused_total{{{ASGI}}}": "0+1x80",
    f'sluice_connections_opened_total{{{ASGI},transport="websocket"}}': "0+3x80",
    f'sluice_connections{{{ASGI},transport="websocket"}}': "400x80",
    f"sluice_origins_refused_total{{{ASGI}}}": "5x80",
    f"sluice_histories_rewritten_total{{{ASGI}}}": "1x80",
    'rabbitmq_alarms_memory_used_watermark{job="rabbitmq"}': "0x80",
    'rabbitmq_alarms_free_disk_space_watermark{job="rabbitmq"}': "0x80",
    'rabbitmq_queue_messages_ready{job="rabbitmq"}': "20x80",
    'sluice_heartbeat_age_seconds{job="celery"}': "4x80",
    'sluice_tasks_total{job="celery",state="success"}': "0+20x80",
    'sluice_tasks_total{job="celery",state="failure"}': "0+1x80",
    'sluice_messages_total{channel="previews",job="worker"}': "0+10x80",
    'sluice_messages_failed_total{channel="previews",job="worker"}': "0x80",
    'sluice_job_failures_total{name="trim updates"}': "0x80",
    'sluice_job_last_success_timestamp_seconds{name="trim updates"}': "0+15x80",
}


@dataclass(frozen=True)
class Case:
    """What differs from a healthy system (None: the series is missing), and the labels of the alert."""

    series: dict[str, str | None]
    labels: dict[str, str] = field(default_factory=dict)


ON_ASGI = {"instance": "asgi:9108", "job": "asgi"}
FIRES: dict[str, list[Case]] = {
    "ServiceDown": [
        Case({'up{instance="celery",job="celery"}': "0x80"}, {"instance": "celery", "job": "celery"}),
        Case({'up{instance="nginx",job="nginx"}': None}, {"job": "nginx"}),
    ],
    "RestartLoop": [Case({f"process_start_time_seconds{{{ASGI}}}": "0+100x80"}, ON_ASGI)],
    "MemoryNearLimit": [Case({f"process_resident_memory_bytes{{{ASGI}}}": "380000000x80"}, ON_ASGI)],
    "FileHandlesNearLimit": [Case({f"process_open_fds{{{ASGI}}}": "60000x80"}, ON_ASGI)],
    "NginxNearLimit": [Case({'nginx_connections_active{job="nginx"}': "4600x80"}, {"job": "nginx"})],
    "ServerErrors": [Case({f'sluice_http_requests_total{{{WSGI},status="5xx"}}': "0+10x80"})],
    "Deaf": [Case({f'sluice_health{{{ASGI},status="deaf"}}': "1x80"}, {**ON_ASGI, "status": "deaf"})],
    "DatabaseDown": [Case({f"sluice_database_up{{{ASGI}}}": "0x80"}, ON_ASGI)],
    "UpdatesLate": [Case({f'sluice_publish_to_write_seconds_bucket{{{ASGI},le="0.1"}}': "0+9x80"})],
    "WakeUpsLost": [Case({f"sluice_wakeups_total{{{ASGI}}}": "100x80", NOTIFIED: None})],
    "NotificationsLost": [Case({NOTIFIED: "0x80"}, ON_ASGI | {"way": "notify"})],
    "ForeignWakeUps": [Case({f"sluice_updates_foreign_wake_ups_total{{{ASGI}}}": "0+1x80"})],
    "SenderDropsWakeUps": [
        Case({f"sluice_sender_dropped_total{{{WSGI}}}": "0+1x80"}, {"instance": "wsgi:9108", "job": "wsgi"}),
        Case({f"sluice_sender_queue{{{WSGI}}}": "900x80"}, {"instance": "wsgi:9108", "job": "wsgi"}),
    ],
    "AdmissionsRefused": [Case({f"sluice_admissions_refused_total{{{ASGI}}}": "0+100x80"}, ON_ASGI)],
    "ReconnectStorm": [
        Case({f'sluice_connections_opened_total{{{ASGI},transport="websocket"}}': "0+100x80"})
    ],
    "OriginsRefused": [Case({f"sluice_origins_refused_total{{{ASGI}}}": "0+1x80"}, ON_ASGI)],
    "HistoriesRewritten": [Case({f"sluice_histories_rewritten_total{{{ASGI}}}": "0x70 5x10"}, ON_ASGI)],
    "BrokerDown": [
        Case({'up{instance="rabbitmq",job="rabbitmq"}': "0x80"}, {"instance": "rabbitmq", "job": "rabbitmq"}),
        Case({'up{instance="rabbitmq",job="rabbitmq"}': None}, {"job": "rabbitmq"}),
    ],
    "BrokerRefuses": [
        Case({f"sluice_layer_up{{{ASGI}}}": "0x80"}, ON_ASGI),
        Case({f"sluice_sender_down{{{WSGI}}}": "2x80"}, {"instance": "wsgi:9108", "job": "wsgi"}),
    ],
    "BrokerAlarm": [
        Case({'rabbitmq_alarms_memory_used_watermark{job="rabbitmq"}': "1x80"}, {"job": "rabbitmq"}),
        Case({'rabbitmq_alarms_free_disk_space_watermark{job="rabbitmq"}': "1x80"}, {"job": "rabbitmq"}),
    ],
    "TasksWait": [Case({'rabbitmq_queue_messages_ready{job="rabbitmq"}': "2000x80"})],
    "WorkerDeaf": [Case({'sluice_heartbeat_age_seconds{job="celery"}': "60x80"}, {"job": "celery"})],
    "TasksFail": [
        Case({'sluice_tasks_total{job="celery",state="failure"}': "0+5x80"}),
        Case(
            {'sluice_messages_failed_total{channel="previews",job="worker"}': "0+5x80"},
            {"channel": "previews"},
        ),
    ],
    "JobFails": [
        Case({'sluice_job_failures_total{name="trim updates"}': "0+1x80"}, {"name": "trim updates"}),
        Case(
            {'sluice_job_last_success_timestamp_seconds{name="trim updates"}': "-20000x80"},
            {"name": "trim updates"},
        ),
    ],
}


def check(folder: Path, series: dict[str, str], fired: dict[str, dict[str, str]]) -> None:
    """Run promtool on these series: after 20 minutes these alerts fire, with these labels, and no other."""
    (folder / "rules.yml").write_text(RULES.read_text())
    expected = [
        {
            "eval_time": "20m",
            "alertname": name,
            "exp_alerts": [
                {"exp_labels": {**fired[name], **rule["labels"]}, "exp_annotations": rule["annotations"]}
            ]
            if name in fired
            else [],
        }
        for name, rule in ALERTS.items()
    ]
    test = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": expected,
    }
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": [test]}
    (folder / "test.yml").write_text(yaml.safe_dump(document))
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yml"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_none_fires_on_a_system_that_is_well(tmp_path: Path) -> None:
    check(tmp_path, HEALTHY, {})


@pytest.mark.parametrize(
    ("name", "case"),
    [
        pytest.param(name, case, id=f"{name}-{number}")
        for name in FIRES
        for number, case in enumerate(FIRES[name])
    ],
)
def test_it_fires_alone(tmp_path: Path, name: str, case: Case) -> None:
    assert case.series.keys() <= HEALTHY.keys()
    series = {key: value for key, value in (HEALTHY | case.series).items() if value is not None}
    check(tmp_path, series, {name: case.labels})


def test_each_alert_is_fired_here() -> None:
    assert list(FIRES) == list(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_it_names_a_heading_with_cause_and_fix(name: str) -> None:
    path, _, anchor = ALERTS[name]["annotations"]["page"].partition("#")
    assert anchor in anchors(SOURCE / "docs" / path)
    if path == "how-to/monitor.md":
        assert anchor == name.lower()


def test_the_page_lists_each_alert_with_its_severity_and_heading() -> None:
    page = (SOURCE / "docs/how-to/monitor.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| .* \| \[[^\]]+\]\(([^)]+)\) \|$", page, re.MULTILINE)
    named = {name: (severity, link.removeprefix("../")) for name, severity, link in rows}
    for name, rule in ALERTS.items():
        link = rule["annotations"]["page"].removeprefix("how-to/monitor.md")
        assert named[name] == (rule["labels"]["severity"], link.removeprefix("how-to/")), name
    assert named.keys() == ALERTS.keys()


def test_the_memory_in_the_rules_is_that_of_compose() -> None:
    compose = yaml.safe_load((SOURCE / "compose.yaml").read_text())
    (limit,) = re.findall(r"(\d+) \* 1024 \* 1024", ALERTS["MemoryNearLimit"]["expr"])
    assert compose["services"]["asgi"]["mem_limit"] == f"{limit}m"


def test_prometheus_takes_its_configuration() -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", "--lint-fatal", str(RULES)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
