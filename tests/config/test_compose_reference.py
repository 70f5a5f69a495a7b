"""docs/reference/services.md and secrets.md agree with compose.yaml, the images and the application."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sluice_stack.init import GROUPS

ROOT = Path(__file__).parents[2]
SERVICES = (ROOT / "docs/reference/services.md").read_text()
SECRETS = (ROOT / "docs/reference/secrets.md").read_text()


def table(text: str, first: str, second: str) -> dict[str, dict[str, str]]:
    """The rows of the table whose first two columns have these titles, by the names in their first cell."""
    heading = re.search(rf"^\| {first} \| {second} \|.*$", text, re.M)
    assert heading, f"no table with the columns {first} and {second}"
    columns = [cell.strip() for cell in heading[0].strip("|").split("|")]
    rows = {}
    for line in text[heading.end() :].splitlines()[2:]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name in re.findall(r"`([^`]+)`", cells[0]):
            rows[name] = dict(zip(columns, cells, strict=True))
    return rows


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [
            "docker",
            "compose",
            "--env-file",
            "/dev/null",
            "--profile",
            "monitoring",
            "config",
            "--format",
            "json",
        ],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)["services"]
    return found


def test_each_service_matches_the_reference(services: dict[str, dict[str, Any]]) -> None:
    rows = table(SERVICES, "service", "image")
    assert set(rows) == set(services)
    for name, row in rows.items():
        service = services[name]
        assert row["image"] == f"`{service['image'].partition(':')[0]}`"
        assert row["user"] == service["user"].partition(":")[0]
        assert set(row["networks"].split(", ")) == set(service.get("networks", {"none": None}))
        assert row["waits for"] == (", ".join(service.get("depends_on", {})) or "nobody")


def test_each_services_resources_and_volumes_match_the_reference(services: dict[str, dict[str, Any]]) -> None:
    for name, row in table(SERVICES, "service", "port").items():
        service = services[name]
        assert row["memory"] == f"{int(service['mem_limit']) // 2**20} MiB"
        assert row["processes"] == str(service["pids_limit"])
        read, _, written = row["volumes"].rpartition("(read)")
        mounted = {volume["source"]: bool(volume.get("read_only")) for volume in service["volumes"]}
        assert mounted == dict.fromkeys(re.findall(r"\w+", read), True) | dict.fromkeys(
            re.findall(r"\w+", written), False
        )


def test_each_volume_matches_the_reference(services: dict[str, dict[str, Any]]) -> None:
    mounted = {
        volume["source"]: volume["target"] for service in services.values() for volume in service["volumes"]
    }
    assert {name: row["where"] for name, row in table(SERVICES, "volume", "where").items()} == mounted


def test_each_stop_matches_the_reference(services: dict[str, dict[str, Any]]) -> None:
    rows = table(SERVICES, "service", "signal")
    assert set(rows) == set(services)
    for name, row in rows.items():
        assert row["signal"] == services[name]["stop_signal"]
        grace = services[name]["stop_grace_period"].replace("1m", "60s ").replace("s", "")
        assert row["grace period"] == f"{sum(map(int, grace.split()))} s"


def test_each_role_has_the_limits_of_the_reference() -> None:
    sql = (ROOT / "images/postgres/roles.sql").read_text()
    for name, row in table(SERVICES, "role", "for").items():
        connections = re.search(rf"^ALTER ROLE {name} :least .* CONNECTION LIMIT (\d+);", sql, re.M)
        assert connections and row["connections"] == connections[1]
        for column, setting in (
            ("statement", "statement_timeout"),
            ("idle in a transaction", "idle_in_transaction_session_timeout"),
        ):
            found = re.search(rf"^ALTER ROLE {name} SET {setting} = '(\d+)(s|min)'", sql, re.M)
            assert row[column] == (f"{found[1]} {found[2]}" if found else "–")


@pytest.mark.parametrize(
    ("role", "where"),
    [
        ("wsgi", "app/mysite/wsgi.py"),
        ("asgi", "app/mysite/asgi.py"),
        ("worker", "app/mysite/asgi.py"),
        ("celery", "packages/sluice-stack/src/sluice_stack/celery/configuration.py"),
    ],
)
def test_the_server_ends_a_statement_before_its_client_gives_up(role: str, where: str) -> None:
    """Otherwise the statement would continue without a client, and hold its locks."""
    limit = re.search(r"^ *answer_within\((\d+)\)", (ROOT / where).read_text(), re.M)
    sql = (ROOT / "images/postgres/roles.sql").read_text()
    statement = re.search(rf"^ALTER ROLE {role} SET statement_timeout = '(\d+)s'", sql, re.M)
    assert limit and statement and int(statement[1]) < int(limit[1])


def test_each_broker_user_has_the_vhost_of_the_reference() -> None:
    definitions = (ROOT / "images/rabbitmq/definitions").read_text()
    found = {user: vhost for vhost, user in re.findall(r'"vhost": "(\w+)", "user": "(\w+)"', definitions)}
    assert {name: row["vhost"] for name, row in table(SERVICES, "user", "vhost").items()} == found


def test_each_secret_is_read_by_those_whom_the_reference_names(services: dict[str, dict[str, Any]]) -> None:
    rows = table(SECRETS, "file in /run/sluice/secrets", "group")
    assert {name: int(row["group"]) for name, row in rows.items()} == GROUPS
    for row in rows.values():
        readers = {name for name, service in services.items() if row["group"] in service.get("group_add", [])}
        assert set(row["read by"].split(", ")) == readers - {"init"}
