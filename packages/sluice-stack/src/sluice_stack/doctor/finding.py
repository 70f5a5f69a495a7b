"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PASSED: Final = "passed"
WARNING: Final = "warning"
FAILED: Final = "failed"
SKIPPED: Final = "skipped"


@dataclass(frozen=True)
class Finding:
    """`message` is what was found, as a sentence; `where` names the program, account or file, if there are
    several.

    `fix` is what to change, the setting and its file; it is empty where nothing is wrong. Neither ever
    contains a secret.
    """

    verdict: str
    message: str
    fix: str = ""
    where: str = ""


class Skipped(Exception):
    """A check can't be made here; the text is the reason."""


def passed(message: str, where: str = "") -> Finding:
    return Finding(PASSED, message, where=where)


def warning(message: str, fix: str, where: str = "") -> Finding:
    """It works, but not as it should, or not for long."""
    return Finding(WARNING, message, fix, where)


def failed(message: str, fix: str, where: str = "") -> Finding:
    """Something must be changed."""
    return Finding(FAILED, message, fix, where)


def skipped(message: str, where: str = "") -> Finding:
    return Finding(SKIPPED, message, where=where)


def one_line(error: object, length: int = 200) -> str:
    """An error's text, fit for a sentence."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= length else text[: length - 1] + "…"
