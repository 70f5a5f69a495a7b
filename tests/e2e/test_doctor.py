"""The doctor in the containers: it passes on a healthy stack, and finds mistakes that only a container can
have.
"""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

from config.nginx_lab import SOURCE
from harness.doctor import IN_CONTAINER as DOCTOR
from harness.doctor import bad, findings
from harness.engine import OWNER_LABEL, PREFIX, engine, run_id
from harness.stack import SERVICES, Stack
from sluice_stack.doctor import checks

LEFT_OUT = {"programs", "front-certificate", "version-nginx", "nginx-connections"}


def test_the_doctor_passes_from_outside_and_inside(site: Stack) -> None:
    quick = [name for name in checks.names() if name != "push-idle"]
    done = site.service("wsgi")[0].exec(*DOCTOR, "--only", *quick)
    found = findings(done.output)
    assert (bad(found), done.code) == ([], 0)
    assert {one["check"] for one in found if one["verdict"] == "skipped"} == {
        *LEFT_OUT,
        "layer-round-trip",  # only asgi and worker use the layer
        "broker-one-vhost",
    }


@pytest.mark.parametrize("service", ["asgi", "worker", "celery", "beat"])
def test_the_doctor_passes_in_each_service(stack: Stack, service: str) -> None:
    done = stack.service(service)[0].exec(*DOCTOR, "--inside")
    found = findings(done.output)
    assert (bad(found), done.code) == ([], 0)
    assert {one["where"] for one in found if one["check"] == "database-rights"} == {service}


def make_doctor(project: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `make doctor` for the stack with that name."""
    return subprocess.run(
        [SOURCE / "scripts/doctor", *arguments],
        env=os.environ | {"COMPOSE_PROJECT_NAME": project},
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_make_doctor_asks_each_service(stack: Stack) -> None:
    done = make_doctor(stack.name)
    assert (done.returncode, done.stdout.count("sluice doctor:")) == (0, 5), done.stdout + done.stderr
    assert "passed    push-idle: Daphne's ping came after" in done.stdout
    assert "failed" not in done.stdout


def test_make_doctor_names_the_services_that_do_not_run() -> None:
    done = make_doctor(f"{PREFIX}-nobody")
    named = {
        line.split("[")[1].split("]")[0] for line in done.stdout.splitlines() if line.startswith("failed")
    }
    assert (done.returncode, named) == (1, set(SERVICES))


@pytest.mark.parametrize(
    ("sysctl", "value", "check"),
    [
        ("net.core.somaxconn", "128", "kernel-somaxconn"),
        ("net.ipv4.ip_local_port_range", "40000 42000", "kernel-ports"),
    ],
)
def test_a_kernel_that_is_set_too_low(image_tag: str, sysctl: str, value: str, check: str) -> None:
    found = alone(image_tag, check, sysctls={sysctl: value})
    assert found["verdict"] in ("warning", "failed") and sysctl in found["message"] and sysctl in found["fix"]


def test_an_engine_that_gives_too_few_files(image_tag: str) -> None:
    from docker.types import Ulimit

    found = alone(image_tag, "open-files", ulimits=[Ulimit(name="nofile", soft=2048, hard=2048)])
    assert found["message"].startswith("the engine gives a container 2048 files, and nginx needs 10512")
    assert "LimitNOFILE" in found["fix"]


def alone(image_tag: str, check: str, **options: Any) -> dict[str, str]:
    """The doctor's result for one check in a single container, without a stack."""
    container = engine().containers.create(
        f"sluice-wsgi:{image_tag}",
        [*DOCTOR, "--inside", "--only", check],
        environment={"SLUICE_SERVICE": "wsgi", "SECRET_KEY_FILE": "/etc/hostname"},
        labels={OWNER_LABEL: f"{PREFIX}-{run_id()}-doctor"},
        **options,
    )
    try:
        container.start()
        container.wait(timeout=60)
        (found,) = findings(container.logs(stderr=False).decode())
        return found
    finally:
        container.remove(force=True)
