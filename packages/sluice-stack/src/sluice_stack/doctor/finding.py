"""What a check is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .deployment import Deployment

OK: Final = "ok"
WARNING: Final = "warning"
FAILURE: Final = "failure"
LEFT_OUT: Final = "left out"


@dataclass(frozen=True)
class Finding:
    """What was seen, as a sentence; `where` names the program, account or file, if there are several.

    `cure` says what to change, the setting and its file; it is empty where nothing is wrong. Neither ever
    holds a secret.
    """

    verdict: str
    says: str
    cure: str = ""
    where: str = ""


@dataclass(frozen=True)
class Check:
    """`name` is short and stable, for documents and scripts; `tests` says what holds where it is content."""

    name: str
    tests: str
    look: Callable[[Deployment], Iterable[Finding]]


class LeftOut(Exception):
    """A check can't be made here; the text says why."""


def ok(says: str, where: str = "") -> Finding:
    return Finding(OK, says, where=where)


def warning(says: str, cure: str, where: str = "") -> Finding:
    """It works, but not as it should, or not for long."""
    return Finding(WARNING, says, cure, where)


def failure(says: str, cure: str, where: str = "") -> Finding:
    """Somebody has to change something."""
    return Finding(FAILURE, says, cure, where)


def left_out(says: str, where: str = "") -> Finding:
    return Finding(LEFT_OUT, says, where=where)


def one_line(error: object, length: int = 200) -> str:
    """An error's text, fit for a sentence."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= length else text[: length - 1] + "…"
