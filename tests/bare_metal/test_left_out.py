"""Each step of docs/how-to/bare-metal.md skipped: the page's table says what one sees, and where.

A copy of the machine from one of the steps also serves as the other machine, on which a backup is restored.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bare_metal.conftest import PUSH, SITE, Crop
from bare_metal.guide import Guide
from bare_metal.machine import Machine
from bare_metal.stages import Stages
from harness.doctor import bad, findings
from harness.site import Browser

GUIDE = Guide.read("bare-metal.md")
OPTIONAL = "A sample volume"
LAST = PUSH[-1]
CHECK = "its own check"


def follow(machine: Machine, step: str) -> str:
    """Follow the step. For the last one, run what is below its first block."""
    if step != CHECK:
        return machine.follow(step)
    _, *check = GUIDE.of(LAST)
    return "".join(machine.bash(machine.begin + block) for block in check)


@pytest.fixture(scope="module")
def stages() -> Iterator[Stages]:
    with Stages(Machine("trixie", "/catmaid"), follow) as stages:
        stages.machine.boot()
        stages.walk([*SITE, *PUSH], pictures="host", anew=("Code", "Settings and secrets"))
        yield stages


@pytest.mark.timeout(300, func_only=True)
@pytest.mark.parametrize("step", [*SITE, *PUSH])
def test_a_skipped_step_is_named(stages: Stages, step: str) -> None:
    where, what = GUIDE.left_out()[step]
    steps = [*SITE, *PUSH]
    then = [other for other in steps[steps.index(step) + 1 :] if other != OPTIONAL]
    shown, said = stages.without(step, then or [CHECK], until=where)
    assert what in said, said
    assert shown == where


@pytest.mark.timeout(400, func_only=True)
def test_a_backup_is_restored_on_another_machine(stages: Stages) -> None:
    here, there = stages.machine, stages.before("Settings and secrets")
    try:
        password = here.person("bob")
        here.browser("alice").send_message("bob", "before the backup")
        crop = Crop.ordered_at(here)
        crop.wait_done()
        here.follow("Back up")
        backup, _ = here.container.get_archive("/var/backups/sluice")
        assert there.container.put_archive("/var/backups", b"".join(backup))
        there.follow("Restore on another machine", "Settings and secrets", "The database")
        there.follow("Tables, administrator, static files", "Restore", "Gunicorn", "Nginx", *PUSH)
        there.wait_running()
        bob = Browser(there.url)
        bob.sign_in("bob", password)
        found = bob.get("/messages/", headers={"Accept": "application/json"})
        assert "before the backup" in [message["title"] for message in found.json()["messages"]]
        assert Crop(there, crop.id).downloads()
        doctor = there.exec("venv/bin/python", "app/manage.py", "doctor", "--at", "127.0.0.1:80", "--json")
        assert bad(findings(doctor.output)) == []
        assert doctor.code == 0
    except BaseException:
        print(there.evidence())
        raise
    finally:
        there.close()
