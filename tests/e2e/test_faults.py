"""One container of each service dies, with clients on all transports and writers that never pause: nothing is
lost or duplicated.
"""

from __future__ import annotations

import pytest
import requests

from harness.checker import Checker
from harness.faults import ALL, CRASH, Fault
from harness.stack import SERVICES, Stack
from harness.symptoms import assert_proved, assert_refuted, in_containers
from harness.waiting import wait_until

BACK = 30.0  # seconds until a killed service is healthy again, including RabbitMQ's start


def test_nothing_is_lost_when_a_container_dies(healed: Stack, service: str) -> None:
    with Checker(healed) as checker:
        checker.clients("alice", "bob")
        checker.writer("alice", to=["bob", "alice"], rate=10)
        checker.writer("bob", to=["alice", "bob"], rate=10)
        wait_until(lambda: checker.arrived() >= 60, 30, "updates on their way")
        with CRASH(healed.service(service)):
            pass  # the engine restarts the container
        healed.service(service).wait_healthy(BACK)
        checker.online()
        seen = checker.arrived()
        wait_until(lambda: checker.arrived() >= seen + 120, 30, "updates afterwards")
    checker.verdict().check()


def test_new_secrets_are_taken_up_without_a_restart(healed: Stack) -> None:
    """`init` makes those that were removed; nobody else is restarted."""
    started = {name: healed.service(name)[0].state["StartedAt"] for name in SERVICES}
    remove = "rm /run/sluice/secrets/{db,mq}_*"
    with Checker(healed) as checker:
        checker.clients("bob")
        checker.writer("alice", to="bob", rate=10)
        wait_until(lambda: checker.arrived() >= 15, 30, "updates on their way")
        healed.compose.run("run", "--rm", "--no-deps", "--entrypoint", "bash", "init", "-c", remove)
        healed.up()
        wait_until(lambda: _ready(healed) == "ok", 30, "all of wsgi's sign-ins")
        seen = checker.arrived()
        wait_until(lambda: checker.arrived() >= seen + 60, 30, "updates afterwards")
    checker.verdict().check()
    assert started == {name: healed.service(name)[0].state["StartedAt"] for name in SERVICES}


def _ready(stack: Stack) -> str:
    return str(requests.get(f"{stack.origin}/readyz", timeout=10).json()["status"])


def test_a_daphne_that_was_killed_is_in_the_log(healed: Stack) -> None:
    """supervisord starts Daphne again."""
    heading, asgi = "502, upstream prematurely closed connection", healed.service("asgi")
    assert_refuted(heading, in_containers(heading, healed.compose))
    pid = "grep --files-with-matches [u]pdates.server /proc/[0-9]*/cmdline | cut --delimiter=/ --fields=3"
    asgi[0].exec("bash", "-c", f"kill -KILL $({pid})")
    assert_proved(heading, in_containers(heading, healed.compose))
    asgi.wait_healthy(BACK)


@pytest.mark.parametrize("fault", ALL, ids=str)
def test_every_fault_strikes_and_can_be_undone(healed: Stack, fault: Fault) -> None:
    """Each fault of the fault suite, applied to Daphne: polling continues during the fault, and sockets catch
    up after it.
    """
    with Checker(healed) as checker:
        checker.clients("bob")
        checker.writer("alice", to="bob", rate=10)
        wait_until(lambda: checker.arrived() >= 15, 30, "updates on their way")
        with fault(healed.service("asgi")):
            polled = _polled(checker)
            wait_until(lambda: _polled(checker) >= polled + 20, 30, "updates by polling meanwhile")
        healed.service("asgi").wait_healthy(BACK)
        checker.online()
        seen = checker.arrived()
        wait_until(lambda: checker.arrived() >= seen + 60, 60, "updates afterwards")
    checker.verdict(deadline=45).check()


def _polled(checker: Checker) -> int:
    return sum(len(page.ledger.arrived) for page in checker.pages if page.transport == "polling")
