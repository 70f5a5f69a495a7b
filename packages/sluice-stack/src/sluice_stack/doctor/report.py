"""The doctor's output: for each finding, a line for people or a line of JSON for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Final

from .deployment import Check
from .finding import FAILED, PASSED, SKIPPED, WARNING, Finding

_WIDTH: Final = 110
_MARGIN: Final = 10
_SHOWN: Final = 3
_COLOURS: Final = {PASSED: "32", WARNING: "33", FAILED: "31;1", SKIPPED: "2"}


def as_text(
    check: Check, findings: list[Finding], *, colour: bool = False, quiet: bool = False
) -> Iterator[str]:
    """Lines with the verdict, the check's name and the message; below each, the fix.

    All that passed is one line.
    """
    fine = [finding for finding in findings if finding.verdict == PASSED]
    if fine and not quiet:
        yield _line(check, _together(fine), colour)
    for finding in findings:
        if finding.verdict != PASSED:
            yield _line(check, finding, colour)


def _together(fine: list[Finding]) -> Finding:
    said = list(dict.fromkeys(finding.message for finding in fine))
    places = list(dict.fromkeys(finding.where for finding in fine if finding.where))
    more = f" (and {len(said) - _SHOWN} more)" if len(said) > _SHOWN else ""
    where = ", ".join(places) if len(places) <= _SHOWN else f"{len(places)} places"
    return Finding(PASSED, "; ".join(said[:_SHOWN]) + more, where=where)


def _line(check: Check, finding: Finding, colour: bool) -> str:
    where = f" [{finding.where}]" if finding.where else ""
    verdict = f"{finding.verdict:<{_MARGIN - 1}}"
    if colour:
        verdict = f"\033[{_COLOURS[finding.verdict]}m{verdict}\033[0m"
    lines = [f"{verdict} {check.name}{where}: {finding.message}"]
    if finding.fix:
        lines += textwrap.wrap(
            finding.fix,
            _WIDTH,
            initial_indent=" " * _MARGIN + "→ ",
            subsequent_indent=" " * _MARGIN + "  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def as_json(check: Check, finding: Finding) -> str:
    """One JSON object with check, where, verdict, message and fix."""
    return json.dumps(
        {
            "check": check.name,
            "where": finding.where,
            "verdict": finding.verdict,
            "message": finding.message,
            "fix": finding.fix,
        },
        ensure_ascii=False,
    )


def summary(verdicts: list[str]) -> str:
    """The last line: how many findings of each verdict, the bad ones first."""
    counts = [
        f"{verdicts.count(kind)} {kind}" for kind in (FAILED, WARNING, PASSED, SKIPPED) if kind in verdicts
    ]
    return "sluice doctor: " + ", ".join(counts)
