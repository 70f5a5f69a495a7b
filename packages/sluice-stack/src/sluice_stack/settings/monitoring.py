"""Where a program serves its metrics."""

from __future__ import annotations

from sluice_stack.environment import Environment

PORT = 9108


def metrics_bind(env: Environment) -> str:
    """SLUICE_UPDATES_METRICS_BIND: METRICS_BIND, else port 9108 with MONITORING=yes, else nowhere."""
    if env.metrics_bind or not env.monitoring:
        return env.metrics_bind
    return f"{'0.0.0.0' if env.sluice_service else '127.0.0.1'}:{PORT}"
