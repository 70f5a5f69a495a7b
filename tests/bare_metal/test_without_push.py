"""What is done to a whole site, last: it is restored from its backup, and push is taken out again."""

from __future__ import annotations

import pytest

from bare_metal.machine import Machine
from harness.checker import Checker
from harness.waiting import wait_until


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
def test_push_is_taken_out_again_and_pages_poll(machine: Machine) -> None:
    machine.follow("Take push out again", times=2)
    assert set(machine.states()) == {"gunicorn:gunicorn_00", "gunicorn:gunicorn_01"}
    with Checker(machine) as checker:
        page = checker.client("bob", "polling")
        machine.browser("alice").send_message("bob", "by polling again")
        wait_until(lambda: page.ledger.arrived, 15, "the message")
    checker.verdict().check()
