"""What Daphnes say of themselves, asked from within their containers."""

from __future__ import annotations

import json
from typing import Any

from harness.service import Replica
from harness.stack import Stack

_ASK = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:8001/channels/healthz", timeout=5).read().decode())
"""


def health(replica: Replica) -> dict[str, Any]:
    """Its report, with details. Raises AssertionError if it gives none."""
    done = replica.exec("/opt/sluice/venv/bin/python", "-c", _ASK)
    assert done.code == 0, f"{replica.name}: {done.output}"
    report: dict[str, Any] = json.loads(done.output)
    return report


def connections(stack: Stack) -> int:
    """How many clients all Daphnes together take for connected."""
    return sum(int(health(replica)["connections"]) for replica in stack.service("asgi"))


def closes(stack: Stack, code: int) -> int:
    """How many connections they have closed with that code since each began."""
    name = f"closes{{code={code}}}"
    return sum(int(health(replica)["counters"].get(name, 0)) for replica in stack.service("asgi"))
