"""A finding: one result of a check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PASSED: Final = "passed"
WARNING: Final = "warning"
FAILED: Final = "failed"
SKIPPED: Final = "skipped"


@dataclass(frozen=True)
class Finding:
    """One result of a check. It never contains a secret.

    `message` is a sentence about the state. `fix` is what to change, with the setting and its file; empty if
    nothing is wrong. `where` names the program, account or file, if there are several.
    """

    verdict: str
    message: str
    fix: str = ""
    where: str = ""


class Skipped(Exception):
    """Raised by a check that can't run here. The text is the reason."""


def passed(message: str, where: str = "") -> Finding:
    return Finding(PASSED, message, where=where)


def warning(message: str, fix: str, where: str = "") -> Finding:
    """Something works, but not as it should, or not for long."""
    return Finding(WARNING, message, fix, where)


def failed(message: str, fix: str, where: str = "") -> Finding:
    """Something must be changed."""
    return Finding(FAILED, message, fix, where)


def skipped(message: str, where: str = "") -> Finding:
    return Finding(SKIPPED, message, where=where)


def one_line(error: object, length: int = 200) -> str:
    """An error's text on one line, cut to `length` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= length else text[: length - 1] + "…"
