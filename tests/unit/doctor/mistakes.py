"""Mistakes for the doctor to find, made on real servers and undone afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from unit.doctor.house import House

Making = Callable[[House], AbstractContextManager[object]]


@dataclass(frozen=True)
class Mistake:
    """A mistake and the expected finding: its check, place, message and fix."""

    make: Making
    check: str
    where: str
    message: str
    fix: str
    verdict: str = "failed"
    arguments: tuple[str, ...] = ()


def recognised(house: House, front: str, mistake: Mistake) -> None:
    with mistake.make(house):
        said = house.doctor(*mistake.arguments, "--at", front, "--only", mistake.check)
    found = said.of(mistake.check, mistake.where)
    assert (found["verdict"], said.code) == (mistake.verdict, int(mistake.verdict == "failed")), said.output
    assert mistake.message in found["message"] and mistake.fix in found["fix"], found


def sql(statement: str, undo: str) -> Making:
    @contextlib.contextmanager
    def make(house: House) -> Iterator[None]:
        house.sql(statement)
        try:
            yield
        finally:
            house.sql(undo)

    return make


def edited(name: str, old: str, new: str) -> Making:
    return lambda house: house.edited(name, old, new)


@contextlib.contextmanager
def rewritten(file: Path, text: str) -> Iterator[None]:
    """Replace a file's text during the block."""
    before = file.read_text()
    file.write_text(text)
    try:
        yield
    finally:
        file.write_text(before)


def rotated(house: House, secret: str) -> AbstractContextManager[None]:
    """A secret that its server does not know."""
    return rewritten(house.secret(secret), "w" * 64)


@contextlib.contextmanager
def as_it_is(house: House) -> Iterator[None]:
    yield


@contextlib.contextmanager
def gone(house: House, path: str) -> Iterator[None]:
    """Remove a file below etc/ during the block."""
    file = house.etc / path
    kept = file.rename(file.with_suffix(".kept"))
    try:
        yield
    finally:
        kept.rename(file)
