"""The doctor names outdated versions, on a Debian 12 that was upgraded from 11: nginx, PostgreSQL and
RabbitMQ were held back, and the old Python remains.

The guide is followed as far as possible, because Django does not support that PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bare_metal.machine import Machine
from harness.doctor import findings

HOLD_BACK = """
cd /etc/apt
sed '/^$/,$d; s/^Suites:.*/Suites: bullseye/' sources.list.d/debian.sources >sources.list.d/before.sources
cat >preferences.d/before <<'END'
Package: nginx* libnginx-* postgresql* rabbitmq-server erlang-*
Pin: release n=bullseye
Pin-Priority: 1001
END
apt-get update
apt-get install --yes --no-install-recommends python3.9
"""
FOLLOWED = ("Packages", "Code", "Settings and secrets", "The database", "RabbitMQ")


@pytest.fixture(scope="module")
def held_back() -> Iterator[Machine]:
    machine = Machine("bookworm")
    try:
        machine.boot()
        machine.shell(HOLD_BACK)
        machine.follow(*FOLLOWED)
        packages, *_ = machine.guide.of("Daphne and the workers")[0].splitlines()
        machine.shell(packages)
        yield machine
    finally:
        machine.close()


def doctor(machine: Machine, *checks: str) -> dict[str, set[tuple[str, str]]]:
    """Verdicts and messages by check."""
    command = ("venv/bin/python", "app/manage.py", "doctor", "--inside", "--json", "--only")
    found: dict[str, set[tuple[str, str]]] = {}
    for finding in findings(machine.exec(*command, *checks).output):
        found.setdefault(finding["check"], set()).add((finding["verdict"], finding["message"]))
    return found


def test_the_doctor_names_outdated_versions(held_back: Machine) -> None:
    found = doctor(held_back, "version-nginx", "database-reachable")
    assert found["version-nginx"] == {("failed", "nginx/1.18.0 is too old")}
    assert found["database-reachable"] == {("failed", "PostgreSQL 13 is too old")}


def test_the_oldest_rabbitmq_is_old_enough(held_back: Machine) -> None:
    checks = ("broker-reachable", "broker-version", "broker-login", "broker-vhost", "layer-round-trip")
    found = doctor(held_back, *checks)
    assert found["broker-version"] == {("passed", "RabbitMQ 3.8.9")}
    verdicts = {check: {verdict for verdict, _ in said} for check, said in found.items()}
    assert verdicts == {check: {"passed"} for check in checks}


@pytest.mark.parametrize("program", [("app/manage.py", "doctor"), ("-m", "sluice_stack.migrate")])
def test_a_python_that_is_too_old_is_refused_in_one_line(
    held_back: Machine, program: tuple[str, str]
) -> None:
    done = held_back.exec("env", "PYTHONPATH=app:packages/sluice-stack/src", "python3.9", *program)
    assert (done.code, done.output) == (
        78,
        "sluice: Python 3.9 is too old: install 3.11 or newer, and create the virtual environment with it\n",
    )
