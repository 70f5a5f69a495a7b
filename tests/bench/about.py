"""On what, when and of what commit figures are measured."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from .deployed import ROOT, run


def about(rounds: int) -> dict[str, Any]:
    """What figures carry with them."""
    memory = Path("/proc/meminfo").read_text().split()[1]
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "when": clock("%Y-%m-%d %H:%M"),
        "commit": _commit(),
        "rounds": rounds,
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory) / 2**20),
        "processor": model[0].partition(":")[2].strip() if model else platform.machine(),
        "kernel": platform.release(),
        "engine": run("docker", "version", "--format", "{{.Server.Version}}").strip(),
    }


def clock(form: str = "%H:%M:%S") -> str:
    """The time, UTC."""
    return datetime.datetime.now(datetime.UTC).strftime(form)


def _commit() -> str:
    command = ["git", "-c", "safe.directory=*", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"
