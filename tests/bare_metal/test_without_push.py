"""The last tests on a whole site: a restore from its backup, the removal of push, and its return."""

from __future__ import annotations

import re

import pytest
import requests

from bare_metal.conftest import PUSH, WITHOUT_PUSH, Crop, optional_packages
from bare_metal.machine import Machine
from harness.checker import Checker
from harness.doctor import bad, findings
from harness.waiting import wait_until

SAMPLE = "share/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


@pytest.mark.timeout(300, func_only=True)
def test_a_restore_takes_back_what_came_after_the_backup(machine: Machine) -> None:
    alice, bob = machine.browser("alice"), machine.browser("bob")
    alice.send_message("bob", "before the backup")
    machine.follow("Back up")
    lost = alice.send_message("bob", "after the backup")
    machine.follow("Restore", times=2)
    machine.wait_running()
    wait_until(machine.healthy, 30, "Daphne healthy")
    found = bob.get("/messages/", headers={"Accept": "application/json"})
    titles = [message["title"] for message in found.json()["messages"]]
    assert "before the backup" in titles and "after the backup" not in titles
    assert alice.send_message("bob", "once more") == lost
    with Checker(machine) as checker:
        page = checker.client("bob")
        alice.send_message("bob", "pushed as ever")
        wait_until(lambda: page.ledger.arrived, 10, "the message")
    checker.verdict().check()


@pytest.mark.timeout(300, func_only=True)
def test_push_is_taken_out_again_and_nothing_misses_it(machine: Machine) -> None:
    machine.follow("Remove push", times=2)
    machine.wait_running()
    assert set(machine.states()) == {"gunicorn:gunicorn_00", "gunicorn:gunicorn_01"}
    assert optional_packages(machine) == []
    ready = requests.get(machine.origin + "/readyz", timeout=10).json()
    assert [ready[part]["status"] for part in ("database", "publisher", "tasks")] == ["up", "off", "off"]
    assert ready["status"] == "ok"
    doctor = machine.exec("venv/bin/python", "app/manage.py", "doctor", "--at", "127.0.0.1:80", "--json")
    assert bad(findings(doctor.output)) == [] and doctor.code == 0
    assert _starts_with_the_machine(machine, "rabbitmq-server") is False
    with Checker(machine) as checker:
        page = checker.client("bob", "polling")
        machine.browser("alice").send_message("bob", "by polling again")
        wait_until(lambda: page.ledger.arrived, 15, "the message")
    checker.verdict().check()
    machine.follow(*WITHOUT_PUSH)
    crop = Crop.ordered_at(machine)
    crop.wait_done()
    assert crop.downloads()
    _, *others = re.findall(r" www-data (.+) 2>&1 \|", machine.shell("cat /etc/cron.d/sluice"))
    assert [job.split()[-2] for job in others] == ["trim_updates", "clearsessions"]
    for job in others:
        done = machine.exec("bash", "-c", job, user="www-data")
        assert done.code == 0, done.output


@pytest.mark.timeout(300, func_only=True)
def test_root_is_told_to_make_files_as_their_user(machine: Machine) -> None:
    """The command in the message works."""
    for command in ("run_crops", f"import_volume {SAMPLE}"):
        done = machine.exec("bash", "-c", f"venv/bin/python app/manage.py {command}")
        assert done.code == 1 and "this runs as root" in done.output
        machine.shell(done.output.partition("Run: ")[2])
    assert machine.shell("find /var/lib/sluice/media /var/lib/sluice/volumes ! -user www-data") == ""


@pytest.mark.timeout(300, func_only=True)
def test_push_comes_back_by_the_same_blocks(machine: Machine) -> None:
    machine.follow(*PUSH)
    machine.wait_running()
    wait_until(machine.healthy, 30, "Daphne healthy")
    assert _starts_with_the_machine(machine, "rabbitmq-server") is True
    with Checker(machine) as checker:
        page = checker.client("bob")
        machine.browser("alice").send_message("bob", "pushed again")
        wait_until(lambda: page.ledger.arrived, 15, "the message")
    checker.verdict().check()


def _starts_with_the_machine(machine: Machine, service: str) -> bool:
    """Whether the service starts at boot on a machine without systemd."""
    return machine.exec("bash", "-c", f"ls /etc/rc2.d/S*{service}").code == 0
