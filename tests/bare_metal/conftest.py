"""Machines that were set up by the guide: Debian 12 at the root of its server, with each block run twice in a
row, and Debian 13 below a prefix.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import pytest
from requests import Response

from bare_metal.delays import delays
from bare_metal.machine import Machine, looked_into
from harness.checker import Checker
from harness.engine import sweep
from harness.waiting import wait_until

SITE = (
    "Packages",
    "Code",
    "Settings and secrets",
    "The database",
    "A sample volume",
    "Tables, administrator, static files",
    "Gunicorn",
    "Nginx",
)
WITHOUT_PUSH = ("Background jobs without push",)
PUSH = ("RabbitMQ", "Daphne and the workers")
SYSTEMD = (
    "From supervisor to systemd",
    "Gunicorn as units",
    "The hint in Nginx's error pages",
    "Daphne and the workers as units",
)
ELSEWHERE = "RabbitMQ on another machine"
LATER = (
    *(ELSEWHERE, "Back up", "Restore", "Restore on another machine", "Upgrade"),
    "Remove push",
)
"""The guide's other parts, which their own tests run."""


@dataclass(frozen=True)
class Crop:
    """A crop of alice's."""

    machine: Machine
    id: int

    @classmethod
    def ordered_at(cls, machine: Machine) -> Crop:
        """Order a crop of a corner of the sample volume."""
        box = {axis: [0, 16] for axis in "xyz"}
        return cls(machine, machine.browser("alice").order_crop(1, box)["crop_id"])

    def wait_done(self) -> None:
        """Wait for its end, at the latest by cron, which runs once a minute."""
        wait_until(lambda: self._get("").json()["state"] == "done", 150, "the crop")

    def downloads(self) -> bool:
        """Whether nginx sends the file."""
        return self._get("download/").status_code == 200

    def _get(self, path: str) -> Response:
        return self.machine.browser("alice").get(f"/crops/{self.id}/{path}")


@dataclass
class Followed:
    """Observations while the guide was followed."""

    after_site: str
    asynchronous: list[str]
    polled: list[str]
    crop: Crop
    after_push: str
    delays: list[float]


@pytest.fixture(
    scope="session",
    params=[("bookworm", "", 2), ("trixie", "/catmaid", 1)],
    ids=["Debian 12", "Debian 13, /catmaid"],
)
def followed(request: pytest.FixtureRequest) -> Iterator[tuple[Machine, Followed]]:
    sweep(own=True)
    suite, prefix, times = request.param
    with looked_into(Machine(suite, prefix)) as machine:
        machine.boot()
        after_site = machine.follow(*SITE, times=times)
        machine.wait_running()
        machine.follow(*WITHOUT_PUSH, times=times)
        crop = Crop.ordered_at(machine)
        machine.follow("Upgrade")
        asynchronous, polled = optional_packages(machine), _polled(machine)
        crop.wait_done()
        if prefix:
            machine.lead_to_daphne("/ws/")
        machine.expose_backends()  # before the next part starts or restarts the programs
        machine.shell("nginx -t; service nginx reload")
        after_push = machine.follow(*PUSH, times=times)
        machine.wait_running()
        wait_until(machine.healthy, 30, "Daphne healthy")
        delayed = delays(machine, unmeasured=5)
        yield machine, Followed(after_site, asynchronous, polled, crop, after_push, delayed)


@pytest.fixture
def machine(followed: tuple[Machine, Followed]) -> Machine:
    """A host with the whole site."""
    return followed[0]


@pytest.fixture
def site(machine: Machine) -> Machine:
    """The same machine, under the fixture name of the container tests."""
    return machine


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    machine = getattr(item, "funcargs", {}).get("machine")
    if report.failed and isinstance(machine, Machine):
        report.sections.append((machine.name, machine.evidence()))
    return report


def optional_packages(machine: Machine) -> list[str]:
    """The installed packages that only push and background jobs need."""
    listed = json.loads(machine.shell("venv/bin/pip list --format=json 2>/dev/null"))
    optional = {"channels", "channels-rabbitmq", "daphne", "celery", "kombu", "twisted"}
    return sorted({package["name"].lower() for package in listed} & optional)


def _polled(machine: Machine) -> list[str]:
    """Titles of messages that a page received by polling."""
    with Checker(machine) as checker:
        page = checker.client("bob", "polling")
        checker.browser("alice").send_message("bob", "by polling")
        wait_until(lambda: page.ledger.arrived, 15, "the message")
    checker.close()
    return [update.payload["message_title"] for update in page.ledger.arrived]
