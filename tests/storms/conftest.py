"""One stack for the whole suite, and the storms that tests make in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from bench.client import Container, LoadClient, Rules
from bench.deployed import OPEN, Deployed
from bench.storm import connected, storm
from harness.engine import OWNER_LABEL, PREFIX, own_image, run_id
from harness.stack import Stack

CLIENTS = int(os.environ.get("STORM_CLIENTS") or 2000)
OTHERS = 300  # clients that a misbehaving one must not affect

Storm = Callable[..., dict[str, Any]]
Live = Callable[[], AbstractContextManager[LoadClient]]


@pytest.fixture(scope="session")
def target(image_tag: str) -> Iterator[Stack]:
    """The stack. All clients have one address, so the limits for an address are raised."""
    with Stack(image_tag, OPEN) as stack:
        yield stack


@pytest.fixture
def deployed(target: Stack) -> Deployed:
    """The same stack, repaired after the test before, as the load client's programs see it."""
    target.wait_healthy()  # a service that was away
    target.mend()
    return Deployed(target.name)


@pytest.fixture
def make_storm(deployed: Deployed) -> Storm:
    """Make a storm, and print its report. The load client has a network namespace of its own."""

    def make_storm(case: str, **options: Any) -> dict[str, Any]:
        report = storm(
            deployed, case=case, clients=CLIENTS, limit=60, image=own_image(), labels=(label(),), **options
        )
        print(summary(report))
        return report

    return make_storm


@pytest.fixture
def others(deployed: Deployed) -> Live:
    """Clients that are live, in a block."""

    def others() -> AbstractContextManager[LoadClient]:
        within = Container(own_image(), deployed.network(), (label(),))
        return connected(deployed.place(), deployed.people(OTHERS), Rules(), within=within)

    return others


def label() -> str:
    """Marks a container as this run's."""
    return f"{OWNER_LABEL}={PREFIX}-{run_id()}-load"


def summary(report: dict[str, Any]) -> str:
    """A report in one line."""
    asgi, health = report["services"]["asgi"], report["health"]
    return (
        f"{report['case']} {report['transport']}: up after {report['up_again_s']:.1f} s,"
        f" {report['back']} back, the last {report['last_back_after_up_s']:.1f} s later;"
        f" {report['failed']} failed attempts {report['ends']} {report['closes']} {report['statuses']};"
        f" polls {report['polls']}; peak {asgi['peak_mib']} MiB, CPU {asgi['cpu_seconds']} s;"
        f" health {health};"
        f" {report['published']} published; GET {report['requests']};"
        f" client {report['client_share_of_core']:.0%} of a core, {report['client_worst_lag_ms']:.0f} ms late"
    )
