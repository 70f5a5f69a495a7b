"""What the doctor finds, by its lines of JSON."""

from __future__ import annotations

import json
from typing import Final

IN_CONTAINER: Final = ("/opt/sluice/venv/bin/python", "/opt/sluice/app/manage.py", "doctor", "--json")


def findings(output: str) -> list[dict[str, str]]:
    """check, where, verdict, says and cure of each."""
    return [json.loads(line) for line in output.splitlines()]


def bad(found: list[dict[str, str]]) -> list[dict[str, str]]:
    """The failures and warnings among them."""
    return [one for one in found if one["verdict"] in ("failed", "warning")]
