"""Each step of docs/how-to/bare-metal.md left out: the page's table says what one then sees, and where."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bare_metal.conftest import PUSH, SITE
from bare_metal.guide import Guide
from bare_metal.machine import Machine
from bare_metal.stages import Stages

GUIDE = Guide.read("bare-metal.md")
OPTIONAL = "A sample volume"
LAST = PUSH[-1]
CHECK = "its own check"


def follow(machine: Machine, step: str) -> str:
    """The step; or of the last one, which nothing comes after, what stands below its first block."""
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
def test_a_step_that_is_left_out_is_named(stages: Stages, step: str) -> None:
    where, what = GUIDE.left_out()[step]
    steps = [*SITE, *PUSH]
    then = [other for other in steps[steps.index(step) + 1 :] if other != OPTIONAL]
    shown, said = stages.without(step, then or [CHECK], until=where)
    assert what in said, said
    assert shown == where
