"""A guide followed step by step, with a picture of the machine before each, to leave it out."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Collection, Sequence
from types import TracebackType

from docker.errors import ImageNotFound

from harness.engine import engine

from .machine import CommandFailed, Machine

Follow = Callable[[Machine, str], str]
"""Does a step, by its title; returns what it wrote, raises CommandFailed."""


class Stages:
    """The machine after all steps, and what each wrote (`said`). A context manager, of the machine too.

    `await_ready` returns when what runs on a machine that has just been switched on answers.
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
        """Follow these steps; with pictures, whose names begin so, before each.

        `anew`: before these the machine is switched off, and it is the picture's that goes on. A picture
        holds what was written since the last such change, so after large steps it saves minutes.
        """
        for step in steps:
            if pictures:
                self._pictures[step] = self.machine.picture(pictures + re.sub("[^a-z]", "", step.lower()))
            if step in anew:
                self.machine.close()
                self.machine = self.before(step)
            self.said[step] = self._follow(self.machine, step)

    def picture(self, step: str) -> str:
        """The one that was taken before that step."""
        return self._pictures[step]

    def before(self, step: str) -> Machine:
        """Another machine, as this one was before a step that a picture was taken of."""
        made = self.machine
        machine = Machine(made.suite, made.prefix, image=self.picture(step), secure=made.secure)
        self._await_ready(machine.power_on())
        return machine

    def without(self, step: str, then: Sequence[str], *, until: str) -> tuple[str, str]:
        """Leave a step out and go on with those others: the step at which a command fails, or that one of
        them which is the last to be taken, and what it wrote up to then.
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
