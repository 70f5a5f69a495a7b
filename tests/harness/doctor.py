"""The doctor's findings, parsed from its JSON lines."""

from __future__ import annotations

import json
from typing import Final

IN_CONTAINER: Final = ("/opt/sluice/venv/bin/python", "/opt/sluice/app/manage.py", "doctor", "--json")


def findings(output: str) -> list[dict[str, str]]:
    """Each finding as a dictionary: check, where, verdict, message, fix."""
    return [json.loads(line) for line in output.splitlines()]


def bad(found: list[dict[str, str]]) -> list[dict[str, str]]:
    """Failures and warnings only."""
    return [one for one in found if one["verdict"] in ("failed", "warning")]
