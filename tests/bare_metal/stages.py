"""A guide followed step by step, with a copy of the machine before each step, to test skipped steps."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Sequence
from types import TracebackType

from docker.errors import ImageNotFound

from harness.engine import engine

from .machine import CommandFailed, Machine

Follow = Callable[[Machine, str], str]
"""Does a step, by its title. Returns its output, raises CommandFailed."""


class Stages:
    """The machine after all steps, and each step's output (`said`). A context manager, which also manages the
    machine.

    `await_ready` returns when the programs on a machine that has just started respond.
    """

    def __init__(
        self,
        machine: Machine,
        follow: Follow,
        await_ready: Callable[[Machine], object] = lambda machine: None,
    ) -> None:
        self.machine = machine
        self._await_ready = await_ready
        self.said: dict[str, str] = {}
        self._follow = follow
        self._pictures: dict[str, str] = {}

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            print(self.machine.evidence())
        self.machine.close()
        for picture in self._pictures.values():
            with contextlib.suppress(ImageNotFound):
                engine().images.remove(picture, force=True)

    def walk(self, steps: Sequence[str], *, pictures: str = "", anew: Collection[str] = ()) -> None:
        """Follow these steps. With `pictures`, a prefix for names, take a copy of the machine before each.

        `anew`: before these steps, replace the machine by its copy. A copy contains what was written since
        the last replacement, so a replacement after large steps saves minutes.
        """
        for step in steps:
            if pictures:
                self._pictures[step] = self.machine.picture(pictures + re.sub("[^a-z]", "", step.lower()))
            if step in anew:
                self.machine.close()
                self.machine = self.before(step)
            self.said[step] = self._follow(self.machine, step)

    def picture(self, step: str) -> str:
        """The copy from before that step."""
        return self._pictures[step]

    def before(self, step: str) -> Machine:
        """Another machine in this one's state before that step."""
        made = self.machine
        machine = Machine(made.suite, made.prefix, image=self.picture(step), secure=made.secure)
        self._await_ready(machine.power_on())
        return machine

    def without(self, step: str, then: Sequence[str], *, until: str) -> tuple[str, str]:
        """Skip a step and follow the steps `then`. `until` is the last one to follow.

        Returns the step at which a command fails (or `until`), and the output up to there.
        """
        machine = self.before(step)
        following = said = ""
        try:
            for following in then:
                said = self._follow(machine, following)
                if following == until:
                    break
        except CommandFailed as failed:
            said = failed.output
        finally:
            machine.close()
        return following, said
