"""Metrics of a Channels worker: name `start` in the setting SLUICE_LAYER_WORKER_WARM_UP."""

from __future__ import annotations

from sluice_updates import conf, monitoring

from ..health.heartbeat import Heartbeat


def start() -> None:
    """Serve them, if SLUICE_UPDATES_METRICS_BIND is set."""
    if conf.metrics_bind() and monitoring.INSTALLED:
        from .collectors import Alive, Channels

        monitoring.start(conf.metrics_bind(), Channels(), Alive(Heartbeat("worker")), program="worker")
