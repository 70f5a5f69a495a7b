"""The units under a real systemd: a Debian 13 (systemd 257) that boots.

The guide was followed on it with supervisor, and then its chapter on systemd. The distribution's services are
units there too.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from e2e.test_preview import test_the_picture_shows_the_volume as test_a_preview_shows_the_volume
from e2e.test_push import (
    test_a_crop_is_pushed_to_its_owner_and_holds_exactly_its_voxels as test_a_crop_is_pushed_to_its_owner,
)
from e2e.test_push import (
    test_every_client_gets_every_message_on_all_transports as test_every_client_gets_every_message,
)
from e2e.test_split import (
    test_an_upgrade_below_channels_is_daphnes,
    test_everything_else_is_gunicorns_upgrades_included,
    test_no_page_of_django_is_served_by_daphne,
    test_the_logs_agree,
)

from bare_metal.conftest import PUSH, SITE, SYSTEMD, optional_packages
from bare_metal.machine import looked_into
from bare_metal.systemd import UNITS, SystemdMachine
from bare_metal.test_restart import BACK, busy, no_request_fails
from harness.checker import Checker
from harness.client.ledger import Ended
from harness.client.page import Page
from harness.waiting import wait_until

__all__ = [
    "test_a_crop_is_pushed_to_its_owner",
    "test_a_preview_shows_the_volume",
    "test_an_upgrade_below_channels_is_daphnes",
    "test_every_client_gets_every_message",
    "test_everything_else_is_gunicorns_upgrades_included",
    "test_no_page_of_django_is_served_by_daphne",
    "test_the_logs_agree",
]
HOSTS_OWN = ("fs/file-max", "fs/nr_open", "fs/pipe-max-size", "kernel/*", "vm/*")
"""Settings that the host shares with its containers, and that systemd or a package changes."""
DATABASE = "postgresql@17-main"


@pytest.fixture(scope="module")
def host_before() -> dict[str, str]:
    return _host_settings()


@pytest.fixture(scope="module")
def machine(host_before: dict[str, str]) -> Iterator[SystemdMachine]:
    with looked_into(SystemdMachine("trixie", "/catmaid")) as machine:
        machine.power_on()
        machine.follow(*SITE, *PUSH)
        machine.expose_backends()
        machine.shell("nginx -t; service nginx reload")
        machine.follow(*SYSTEMD, times=2)
        machine.wait_running()
        wait_until(machine.healthy, 30, "Daphne healthy")
        yield machine


def test_systemd_runs_it_and_no_unit_has_failed(machine: SystemdMachine) -> None:
    assert machine.shell("cat /proc/1/comm") == "systemd\n"
    assert machine.shell("systemctl --failed --plain --no-legend") == ""
    assert machine.system_state() == "running"
    assert machine.states() == dict.fromkeys(UNITS, "RUNNING")
    assert machine.shell("supervisorctl status || (($? == 3))") == ""


def test_the_hosts_own_settings_are_only_read(machine: SystemdMachine, host_before: dict[str, str]) -> None:
    assert _host_settings() == host_before
    assert " ro," in machine.shell("grep ' /proc/sys proc ' /proc/mounts")
    assert machine.exec("sh", "-c", "echo 1 >/proc/sys/kernel/sysrq").code != 0


def test_each_program_has_the_open_files_that_its_unit_says(machine: SystemdMachine) -> None:
    """Or as many as the engine allows a container, if systemd can't raise its own limit."""
    most = int(_files_of(machine, "1")[1])
    for unit, pid in machine.pids().items():
        assert machine.property_of(unit, "LimitNOFILE") == "65536"
        assert _files_of(machine, pid) == [str(min(65536, most))] * 2, unit


def test_a_program_can_write_where_its_data_is_and_nowhere_else(machine: SystemdMachine) -> None:
    for unit, pid in machine.pids().items():
        inside = f"nsenter --target {pid} --mount runuser --user www-data -- "
        assert machine.exec("bash", "-c", inside + "test -w /var/lib/sluice/media").code == 0, unit
        for folder in ("/etc/sluice", "/opt/sluice", "/var/www", "/var/log/sluice"):
            assert machine.exec("bash", "-c", inside + f"test -w {folder}").code == 1, (unit, folder)
        status = machine.shell(f"cat /proc/{pid}/status")
        assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE) and "NoNewPrivs:\t1" in status, unit


def test_a_start_never_makes_the_shared_socket_block(machine: SystemdMachine) -> None:
    """Otherwise another process, Twisted's or Gunicorn's, would hang in accept() until the next
    connection.
    """
    for port, unit in ((8000, "sluice-gunicorn@2"), (8001, "sluice-daphne@2")):
        seen = machine.shell(
            f'inode=$(awk \'$2 == "0100007F:{port:X}" && $4 == "0A" {{ print $10 }}\' /proc/net/tcp)\n'
            'for file in /proc/1/fd/*; do [[ $(readlink "$file") != "socket:[$inode]" ]] || break; done\n'
            f"systemctl restart {unit}\n"
            "for _ in {1..150}; do grep ^flags: /proc/1/fdinfo/${file##*/}; sleep 0.02; done"
        )
        flags = [int(line.split()[1], 8) for line in seen.splitlines()]
        assert len(flags) == 150 and all(flag & os.O_NONBLOCK for flag in flags), unit
    machine.wait_running()


@pytest.mark.timeout(300, func_only=True)
def test_the_shipped_command_restarts_all_without_dropping_a_request(machine: SystemdMachine) -> None:
    before = machine.pids()
    with busy(machine) as checker, no_request_fails(machine):
        said = machine.shell("sluice-restart")
    assert set(checker.writers[0].answers) == {201}, checker.writers[0].answers
    assert re.findall(r"^(\S+)\.service: restarted", said, re.MULTILINE) == list(UNITS)
    assert not set(before.values()) & set(machine.pids().values())


def test_nothing_is_restarted_if_a_name_is_misspelt(machine: SystemdMachine) -> None:
    before = machine.pids()
    done = machine.exec("sluice-restart", "gunicorn", "dahpne")
    assert done.code == 1 and "systemd runs no dahpne, so nothing was restarted" in done.output
    assert machine.pids() == before


@pytest.mark.timeout(300, func_only=True)
def test_a_second_tour_is_refused_while_one_is_under_way(machine: SystemdMachine) -> None:
    before = machine.pids()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(machine.shell, "sluice-restart beat celery")
        wait_until(lambda: machine.pids()["sluice-beat"] != before["sluice-beat"], 30, "its first restart")
        second = machine.exec("sluice-restart", "gunicorn")
        assert first.result().count(": restarted (") == 2
    assert second.code == 1 and "another sluice-restart is under way" in second.output
    after = machine.pids()
    assert {unit for unit in UNITS if after[unit] != before[unit]} == {"sluice-beat", "sluice-celery"}


@pytest.mark.timeout(300, func_only=True)
def test_a_mistake_in_the_settings_stops_sluice_restart_and_is_reported(machine: SystemdMachine) -> None:
    machine.shell("cp --archive /etc/sluice/sluice.env /root/; echo SITE_ULR=x >>/etc/sluice/sluice.env")
    try:
        done = machine.exec("sluice-restart")
        assert done.code == 1 and "sluice-gunicorn@1.service did not come back" in done.output
        failed = machine.shell("systemctl --failed --plain --no-legend")
        assert [line.split()[0] for line in failed.splitlines()] == ["sluice-gunicorn@1.service"]
        (command,) = re.findall(r"Why: (journalctl .+)", done.output)
        assert "SITE_ULR is not a setting" in machine.shell(command)
        states = machine.states()
        assert states.pop("sluice-gunicorn@1") == "FATAL" and set(states.values()) == {"RUNNING"}
        for _ in range(10):  # no connection starts it again, or closes the other's socket
            assert requests.get(f"{machine.url}/accounts/login/", timeout=20).status_code == 200
        assert machine.states()["sluice-gunicorn@1"] == "FATAL"
    finally:
        machine.shell("cp --archive /root/sluice.env /etc/sluice/")
    assert machine.shell("sluice-restart gunicorn").count(": restarted (") == 2
    assert machine.system_state() == "running"


def test_a_stopped_unit_stays_stopped_despite_connections(machine: SystemdMachine) -> None:
    machine.shell("systemctl stop sluice-gunicorn@1")
    try:
        for _ in range(10):
            assert requests.get(f"{machine.url}/accounts/login/", timeout=20).status_code == 200
        assert machine.states()["sluice-gunicorn@1"] == "DEAD"
    finally:
        machine.shell("systemctl start sluice-gunicorn@1")
        machine.wait_running()


def test_without_any_gunicorn_pages_wait_and_are_not_lost(machine: SystemdMachine) -> None:
    """systemd keeps the socket open, so there is no 503 as after supervisor closed it."""
    page = f"{machine.url}/accounts/login/"
    machine.shell("systemctl stop 'sluice-gunicorn@*' 2>&1")
    try:
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(requests.get, page, timeout=50)
            with pytest.raises(requests.ReadTimeout):
                requests.get(page, timeout=3)
            assert not waiting.done()
            machine.shell("systemctl start sluice-gunicorn")
            assert waiting.result().status_code == 200
    finally:
        machine.shell("systemctl start sluice-gunicorn")
        machine.wait_running()


@pytest.mark.timeout(300, func_only=True)
def test_nothing_is_lost_when_units_are_killed_one_after_another(machine: SystemdMachine) -> None:
    """Each unit is killed with all its processes, as when memory runs out. systemd also restarts RabbitMQ."""
    with busy(machine):
        for unit in (*UNITS, "rabbitmq-server"):
            killed = machine.property_of(unit, "MainPID")
            machine.shell(f"systemctl kill --signal=KILL {unit}")
            _wait_back(machine, unit, killed)
        wait_until(lambda: '"way": "layer"' in _health(machine), BACK, "messages by way of RabbitMQ")


@pytest.mark.timeout(300, func_only=True)
def test_a_dead_postgresql_is_started_as_the_guide_says(machine: SystemdMachine) -> None:
    (command,) = re.findall(r"PostgreSQL: `(systemctl .+)` does", machine.guide.page.read_text())
    with busy(machine):
        machine.shell(f"systemctl kill --signal=KILL {DATABASE}")
        wait_until(lambda: machine.property_of(DATABASE, "ActiveState") == "failed", 20, "its end")
        machine.shell(command)
        wait_until(machine.healthy, BACK, "Daphne healthy")


@pytest.mark.timeout(300, func_only=True)
def test_all_is_stopped_in_good_order_and_daphnes_clients_are_told(machine: SystemdMachine) -> None:
    with Checker(machine) as checker:
        pages = checker.clients("bob", transports=("websocket", "sse"))
        began = time.monotonic()
        machine.shell(_command_of(machine, "stop all", 0) + " 2>&1")
        assert _ends(pages, began) == [1012, 1012]
        how = {
            unit: (machine.property_of(unit, "Result"), machine.property_of(unit, "ExecMainStatus"))
            for unit in UNITS
        }
        assert how == dict.fromkeys(UNITS, ("success", "0"))
        refused = requests.get(f"{machine.url}/accounts/login/", timeout=20)
        assert refused.status_code == 503 and "supervisorctl" not in refused.text
        assert "See: systemctl list-units --all 'sluice*', and journalctl" in refused.text
        machine.shell(_command_of(machine, "stop all", 1))
        machine.wait_running()
        machine.browser("alice").send_message("bob", "as before")
        wait_until(lambda: all(page.ledger.arrived for page in pages), 30, "the message")
    checker.verdict().check()


@pytest.mark.timeout(300, func_only=True)
def test_the_doctor_passes(machine: SystemdMachine) -> None:
    wait_until(machine.healthy, 60, "Daphne healthy")
    done = machine.exec(
        "venv/bin/python", "app/manage.py", "doctor", machine.url + "/", "--at", "127.0.0.1:80", "--json",
    )  # fmt: skip
    found = [json.loads(line) for line in done.output.splitlines()]
    assert [one for one in found if one["verdict"] in ("failed", "warning")] == []
    assert done.code == 0


def test_the_guides_command_shows_what_each_program_writes(machine: SystemdMachine) -> None:
    command = _command_of(machine, "read the logs", 0)
    assert command == "journalctl --unit 'sluice-*'"
    shown = machine.shell(f"{command} --no-pager --boot")
    for unit, words in {
        "sluice-gunicorn@2": "Booting worker",
        "sluice-daphne@1": "serving on",
        "sluice-channels-worker": "previews",
        "sluice-celery": "ready",
        "sluice-beat": "beat: Starting",
    }.items():
        assert words in shown, unit


@pytest.mark.timeout(300, func_only=True)
def test_the_machine_shuts_down_in_order_and_starts_everything_at_boot(machine: SystemdMachine) -> None:
    """nginx stops after Daphne, so that clients receive the close."""
    with Checker(machine) as checker:
        pages = checker.clients("bob", transports=("websocket", "sse"))
        began = time.monotonic()
        machine.shut_down()
        assert _ends(pages, began) == [1012, 1012]
        machine.power_on()
        _all_comes_up(machine)
        machine.browser("alice").send_message("bob", "on again")
        wait_until(lambda: all(page.ledger.arrived for page in pages), 60, "the message")
    checker.verdict().check()


@pytest.mark.timeout(300, func_only=True)
def test_after_a_power_cut_it_waits_for_no_database_and_no_broker(machine: SystemdMachine) -> None:
    """They start long after everything else."""
    late = f"{DATABASE} rabbitmq-server"
    machine.shell(f"systemctl mask {late} 2>&1; sync")
    machine.power_cut()
    machine.power_on()
    try:
        machine.wait_running()
        wait_until(lambda: _status(machine, "/healthz") == 200, 30, "Gunicorn")
        wait_until(lambda: _status(machine, "/readyz") == 503, 30, "Gunicorn without a database")
        assert set(machine.states().values()) == {"RUNNING"}
    finally:
        machine.shell(f"systemctl unmask {late} 2>&1; systemctl start {late}")
    _all_comes_up(machine)
    with Checker(machine) as checker:
        page = checker.client("bob")
        machine.browser("alice").send_message("bob", "after the power cut")
        wait_until(lambda: page.ledger.arrived, 20, "the message")
    checker.verdict().check()


@pytest.mark.timeout(300, func_only=True)
def test_push_is_taken_out_again_and_pages_poll(machine: SystemdMachine) -> None:
    machine.shell(_command_of(machine, "remove push", 0) + " 2>&1")
    machine.bash(machine.guide.of("Remove push")[1])
    assert optional_packages(machine) == []
    assert machine.exec("systemctl", "is-enabled", "rabbitmq-server").output.split() == ["disabled"]
    assert requests.get(machine.origin + "/readyz", timeout=10).json()["status"] == "ok"
    assert {unit for unit, state in machine.states().items() if state == "RUNNING"} == {
        "sluice-gunicorn@1",
        "sluice-gunicorn@2",
    }
    with Checker(machine) as checker:
        page = checker.client("bob", "polling")
        machine.browser("alice").send_message("bob", "by polling")
        wait_until(lambda: page.ledger.arrived, 15, "the message")
    checker.verdict().check()


def _all_comes_up(machine: SystemdMachine) -> None:
    machine.wait_running()
    wait_until(lambda: '"way": "layer"' in _health(machine), BACK, "messages by way of RabbitMQ")
    assert machine.system_state() == "running"


def _files_of(machine: SystemdMachine, pid: str) -> list[str]:
    """A process's soft and hard limit on open files."""
    return machine.shell(f"grep 'Max open files' /proc/{pid}/limits").split()[3:5]


def _wait_back(machine: SystemdMachine, unit: str, killed: str) -> None:
    """Wait until the unit runs with another process than the killed one."""
    wait_until(
        lambda: (
            machine.property_of(unit, "SubState") == "running"
            and machine.property_of(unit, "MainPID") != killed
        ),
        BACK,
        f"{unit} back",
    )


def _health(machine: SystemdMachine) -> str:
    return machine.exec(
        "curl", "--silent", "--header", "Host: localhost", f"http://127.0.0.1{machine.prefix}/channels/healthz"
    ).output  # fmt: skip


def _status(machine: SystemdMachine, probe: str) -> int:
    try:
        return requests.get(machine.origin + probe, timeout=10).status_code
    except requests.RequestException:
        return 0


def _ends(pages: list[Page], began: float) -> list[int]:
    """The code of each page's first connection that ended after `began`."""
    return [
        next(entry.code for entry in page.ledger.entries if isinstance(entry, Ended) and entry.at >= began)
        for page in pages
    ]


def _command_of(machine: SystemdMachine, purpose: str, number: int) -> str:
    """A command of the guide's table for systemd."""
    chapter = machine.guide.page.read_text().partition("\n## With systemd instead of supervisor\n")[2]
    (row,) = re.findall(rf"^\| {purpose}[^|]*\| (.*) \|$", chapter, re.MULTILINE)
    command: str = re.findall(r"`([^`]+)`", row)[number]
    return command


def _host_settings() -> dict[str, str]:
    """The host's settings in /proc/sys, without those that change on their own."""
    volatile = ("random", "ns_last_pid", "pty", "stat_refresh")
    found = {}
    for pattern in HOSTS_OWN:
        for file in Path("/proc/sys").glob(pattern):
            if file.is_file() and file.stat().st_mode & 0o444 and file.name not in volatile:
                try:
                    found[str(file)] = file.read_text()
                except OSError:  # not readable for us
                    continue
    return found
