"""supervisord is killed, as happens when memory runs out.

With systemd, everything is restarted. Without it, the programs continue without supervisord, and the
symptoms' page, sluice-restart and the doctor report that and the fix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import requests

from bare_metal.conftest import PUSH, SITE
from bare_metal.machine import Machine, looked_into
from bare_metal.systemd import SystemdMachine
from bare_metal.test_restart import BACK, busy
from bare_metal.test_symptoms import shell_of
from harness.doctor import bad, findings
from harness.symptoms import assert_proved, assert_refuted, assert_seen
from harness.waiting import wait_until

PIDFILE = "/run/supervisord.pid"
KILLED = f"kill -KILL $(cat {PIDFILE}); while kill -0 $(cat {PIDFILE}) 2>/dev/null; do sleep 0.1; done"
PROGRAMS = ["beat", "celery", "channels-worker", "daphne", "daphne", "gunicorn", "gunicorn"]


@pytest.fixture(scope="module")
def booted() -> Iterator[Machine]:
    """A Debian 12 with systemd, on which supervisor runs the programs."""
    with looked_into(SystemdMachine("bookworm")) as machine:
        machine.power_on()
        machine.follow(*SITE, *PUSH)
        _await_running(machine)
        yield machine


@pytest.mark.timeout(300, func_only=True)
def test_systemd_starts_all_anew_and_leaves_nobody_behind(booted: Machine) -> None:
    before = _supervisord(booted)
    with busy(booted):
        booted.shell(f"kill -KILL {before}")
        wait_until(lambda: _supervisord(booted) not in ("", before), BACK, "another supervisord")
        _await_running(booted)
        wait_until(booted.healthy, BACK, "Daphne healthy")
    assert _parents(booted) == [_supervisord(booted)] * len(PROGRAMS)
    assert requests.get(f"{booted.url}/accounts/login/", timeout=20).status_code == 200


@pytest.mark.timeout(300, func_only=True)
def test_stopped_in_good_order_supervisord_still_ends_its_programs_itself(booted: Machine) -> None:
    log = "/var/log/supervisor/supervisord.log"
    booted.shell(f"truncate --size 0 {log}; systemctl stop supervisor")
    ended = re.findall(r" stopped: \S+ \((.+)\)", booted.shell(f"cat {log}"))
    assert (ended, _parents(booted)) == (["exit status 0"] * len(PROGRAMS), [])
    booted.shell("systemctl start supervisor")
    _await_running(booted)
    assert _parents(booted) == [_supervisord(booted)] * len(PROGRAMS)


@pytest.mark.timeout(300, func_only=True)
def test_without_systemd_its_programs_are_named_with_the_lines_that_end_them(machine: Machine) -> None:
    heading = "Address already in use"
    assert_refuted(heading, {}, shell=shell_of(machine))
    assert _examined(machine) == (0, [])
    machine.shell(KILLED)
    assert_seen(heading, machine.exec("service", "supervisor", "start").output)
    assert_proved(heading, {}, shell=shell_of(machine))
    code, found = _examined(machine)
    ((where, message),) = found
    assert (code, where.split(", ")) == (1, PROGRAMS) and "their supervisord has died" in message
    _follow_the_fix(machine, PROGRAMS)
    assert _examined(machine) == (0, [])
    assert_refuted(heading, {}, shell=shell_of(machine))


@pytest.mark.timeout(300, func_only=True)
def test_those_that_run_beside_a_new_supervisords_are_named_too(machine: Machine) -> None:
    """This happens if one frees only the two ports."""
    left = ["beat", "celery", "channels-worker"]
    held = [name for name in machine.states() if not name.startswith("sluice:")]
    pids = " ".join(machine.shell(f"supervisorctl pid {' '.join(held)}").split())
    machine.shell(f"{KILLED}; kill {pids}; while kill -0 {pids} 2>/dev/null; do sleep 0.1; done")
    machine.shell("service supervisor start")
    machine.wait_running()
    code, found = _examined(machine)
    (orphans, died), (twice, message) = found
    assert (code, orphans.split(", "), twice) == (1, left, "beat"), found
    assert "their supervisord has died" in died and message.startswith("it runs 2 times")
    _follow_the_fix(machine, left)
    assert _examined(machine) == (0, [])


def _follow_the_fix(machine: Machine, left: list[str]) -> None:
    """Follow the instructions of sluice-restart. It restarts nothing before."""
    done = machine.exec("sluice-restart")
    said, _, lines = done.output.partition("\nEnd them")
    named = re.sub(
        r"_\d+", "", said.partition("nothing would restart them: ")[2].partition(". So nothing")[0]
    )
    assert (done.code, sorted(named.split(", "))) == (1, left), done.output
    machine.shell(lines.partition(":\n")[2])
    machine.wait_running()
    wait_until(machine.healthy, BACK, "Daphne healthy")
    assert _parents(machine) == [_supervisord(machine)] * len(PROGRAMS)
    assert requests.get(f"{machine.url}/accounts/login/", timeout=20).status_code == 200


def _examined(machine: Machine) -> tuple[int, list[tuple[str, str]]]:
    """The doctor's exit status, and its findings about the programs: place and message."""
    done = machine.exec("venv/bin/python", "app/manage.py", "doctor", "--only", "programs", "--json")
    found = findings(done.output)
    assert found and {one["verdict"] for one in found} <= {"passed", "failed"}, done.output
    return done.code, [(one["where"], one["message"]) for one in bad(found)]


def _await_running(machine: Machine) -> None:
    """Wait for supervisor's programs, even on a machine where systemd could run them."""
    wait_until(
        lambda: list(Machine.states(machine).values()) == ["RUNNING"] * len(PROGRAMS),
        60,
        "all programs RUNNING",
    )


def _supervisord(machine: Machine) -> str:
    """supervisord's process id, or "" if it doesn't respond."""
    done = machine.exec("supervisorctl", "pid")
    return done.output.strip() if done.code == 0 and done.output.strip().isdigit() else ""


def _parents(machine: Machine) -> list[str]:
    """The parent of each program, without the workers that programs start themselves."""
    listed = [line.split(maxsplit=2) for line in machine.shell("ps axo pid=,ppid=,args=").splitlines()]
    parents = {pid: parent for pid, parent, command in listed if command.startswith("/opt/sluice/venv/bin/")}
    return [parent for parent in parents.values() if parent not in parents]
