"""Daphne started as in CATMAID's documentation, instead of ours: routes and push are the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bare_metal.machine import Machine
from harness import raw
from harness.checker import Checker
from harness.waiting import wait_until

COMMAND = "../venv/bin/daphne -b 127.0.0.1 -p 8001 mysite.asgi:application"


@pytest.fixture
def seed(machine: Machine) -> Iterator[Machine]:
    """The machine with a stock Daphne, while ours is stopped."""
    machine.shell("supervisorctl stop daphne:*")
    try:
        machine.container.exec_run(
            ["bash", "-c", f"exec {COMMAND} >/tmp/stock-daphne.log 2>&1"],
            user="www-data",
            workdir="/opt/sluice/app",
            environment={"SLUICE_PROGRAM": "daphne"},
            detach=True,
        )
        wait_until(machine.healthy, 30, "Daphne healthy")
        yield machine
    finally:
        machine.shell("pkill -TERM --full '[d]aphne -b 127.0.0.1'; supervisorctl start daphne:*")
        machine.wait_running()
        wait_until(machine.healthy, 30, "Daphne healthy")


def test_stock_daphne_pushes_behind_our_nginx(seed: Machine) -> None:
    with Checker(seed) as checker:
        checker.clients("alice", "bob")
        checker.writer("alice", to=["bob", "alice"], rate=10)
        wait_until(lambda: checker.arrived() >= 60, 30, "updates on their way")
    checker.verdict().check()


def test_stock_daphne_serves_no_page_and_refuses_a_foreign_origin(seed: Machine) -> None:
    page = seed.ask_directly("asgi", "GET /accounts/login/ HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert raw.parse(page).status == 404
    handshake = "".join(f" --header '{name}: {value}'" for name, value in raw.UPGRADE.items())
    foreign = seed.shell(
        "curl --silent --output /dev/null --write-out '%{http_code}' --max-time 10 --header 'Host: localhost'"
        f" --header 'Origin: http://evil.example'{handshake} http://127.0.0.1{seed.prefix}/channels/updates/"
    )
    assert foreign == "403"
