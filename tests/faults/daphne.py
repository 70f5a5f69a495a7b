"""The Daphnes' own reports, requested from inside their containers."""

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
    """Its health report with details. Raises AssertionError without one."""
    done = replica.exec("/opt/sluice/venv/bin/python", "-c", _ASK)
    assert done.code == 0, f"{replica.name}: {done.output}"
    report: dict[str, Any] = json.loads(done.output)
    return report


def connections(stack: Stack) -> int:
    """Number of connected clients that all Daphnes together report."""
    return sum(int(health(replica)["connections"]) for replica in stack.service("asgi"))


def closes(stack: Stack, code: int) -> int:
    """Number of connections that the Daphnes closed with that code since each one's start."""
    name = f"closes{{code={code}}}"
    return sum(int(health(replica)["counters"].get(name, 0)) for replica in stack.service("asgi"))
