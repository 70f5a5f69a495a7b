"""Restarts by the shipped command, an upgrade, and crashes, with clients on all transports and writers that
never pause.

Nothing is lost or duplicated, and a restart drops no request.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import requests

from bare_metal.machine import Machine
from harness.checker import Checker
from harness.probe import Probe
from harness.waiting import wait_until

BACK = 60.0  # seconds until the killed program runs again
VICTIMS = {
    "Gunicorn": "kill -KILL $(supervisorctl pid gunicorn:gunicorn_00)",
    "a worker of Gunicorn": "kill -KILL $(pgrep --oldest --parent $(supervisorctl pid gunicorn:gunicorn_01))",
    "Daphne": "kill -KILL $(supervisorctl pid daphne:daphne_00)",
    "the Channels worker": "kill -KILL $(supervisorctl pid sluice:channels-worker)",
    "Celery": "kill -KILL $(supervisorctl pid sluice:celery)",
    "beat": "kill -KILL $(supervisorctl pid sluice:beat)",
    # systemd would restart the first of these two.
    "RabbitMQ": "pkill -KILL --uid rabbitmq beam.smp; service rabbitmq-server start",
    "PostgreSQL": "pkill -KILL --uid postgres --oldest postgres; sleep 1; service postgresql start",
}


@contextmanager
def busy(machine: Machine) -> Iterator[Checker]:
    """Clients and writers before, during and after the block, then the verdict."""
    with Checker(machine) as checker:
        checker.clients("alice", "bob")
        checker.writer("alice", to=["bob", "alice"], rate=10)
        wait_until(lambda: checker.arrived() >= 60, 30, "updates on their way")
        yield checker
        checker.online()
        seen = checker.arrived()
        wait_until(lambda: checker.arrived() >= seen + 60, BACK, "updates afterwards")
    checker.verdict(deadline=30).check()


@contextmanager
def no_request_fails(machine: Machine) -> Iterator[None]:
    """Request pages from Gunicorn and responses from Daphne all the time, each on its own connection."""
    headers = {"Connection": "close"}
    page, events = f"{machine.url}/accounts/login/", f"{machine.url}/channels/healthz"
    with (
        Probe(lambda: requests.get(page, headers=headers, timeout=20), rate=20) as pages,
        Probe(lambda: requests.get(events, headers=headers, timeout=20), rate=20) as channels,
    ):
        yield
    pages.assert_clean()
    channels.assert_clean()


@pytest.mark.timeout(300, func_only=True)
def test_the_shipped_command_restarts_all_without_dropping_a_request(machine: Machine) -> None:
    before = _pids(machine)
    with busy(machine) as checker, no_request_fails(machine):
        said = machine.shell("sluice-restart")
    answers = checker.writers[0].answers
    assert set(answers) == {201}, answers
    assert said.count(": restarted (") == len(before) == 7
    assert not set(before.values()) & set(_pids(machine).values())


def test_nothing_is_restarted_if_a_name_is_misspelt(machine: Machine) -> None:
    before = _pids(machine)
    done = machine.exec("sluice-restart", "gunicorn", "dahpne")
    assert done.code == 1 and "supervisord runs no dahpne, so nothing was restarted" in done.output
    assert _pids(machine) == before


@pytest.mark.timeout(300, func_only=True)
def test_a_second_tour_is_refused_while_one_is_under_way(machine: Machine) -> None:
    before = _pids(machine)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(machine.shell, "sluice-restart sluice")
        wait_until(lambda: "RUNNING" not in machine.states()["sluice:beat"], 20, "its first stop", every=0.1)
        second = machine.exec("sluice-restart", "gunicorn")
        assert first.result().count(": restarted (") == 3
    assert second.code == 1 and "another sluice-restart is under way" in second.output
    after = _pids(machine)
    assert {name for name in after if after[name] == before[name]} == {
        name for name in after if not name.startswith("sluice:")
    }


@pytest.mark.timeout(300, func_only=True)
def test_an_upgrade_drops_no_request(machine: Machine) -> None:
    with busy(machine), no_request_fails(machine):
        machine.follow("Upgrade")


@pytest.mark.timeout(300, func_only=True)
def test_a_mistake_in_the_settings_ends_the_tour_at_the_first_process(machine: Machine) -> None:
    machine.shell("cp --archive /etc/sluice/sluice.env /root/; echo SITE_ULR=x >>/etc/sluice/sluice.env")
    try:
        done = machine.exec("sluice-restart")
        assert done.code == 1 and "did not come back" in done.output
        states = machine.states()
        assert states.pop("gunicorn:gunicorn_00") != "RUNNING"
        assert set(states.values()) == {"RUNNING"}
        assert "SITE_ULR is not a setting" in machine.shell("supervisorctl tail gunicorn:gunicorn_00")
        assert requests.get(f"{machine.url}/accounts/login/", timeout=20).status_code == 200
    finally:
        machine.shell("cp --archive /root/sluice.env /etc/sluice/")
    machine.shell("sluice-restart")
    machine.wait_running()


@pytest.mark.timeout(300, func_only=True)
@pytest.mark.parametrize("victim", VICTIMS)
def test_nothing_is_lost_when_a_process_is_killed(machine: Machine, victim: str) -> None:
    with busy(machine):
        machine.shell(VICTIMS[victim])
        machine.wait_running(BACK)
        wait_until(machine.healthy, BACK, "Daphne healthy")


def _pids(machine: Machine) -> dict[str, str]:
    return {name: machine.shell(f"supervisorctl pid {name}").strip() for name in machine.states()}
