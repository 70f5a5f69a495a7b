"""Metrics of a Celery worker: each process of the pool counts its tasks, the main process serves the sums."""

from __future__ import annotations

from typing import Any, Final

import billiard  # type: ignore[import-untyped]
from celery import signals

from sluice_updates import conf, monitoring

from ..health.heartbeat import Heartbeat
from ..monitoring.figures import Figures, slots
from ..monitoring.slots import Slots
from .ping import TASK as PING

STATES: Final = ("success", "failure", "retry", "other")
# More than a pool may have: CELERY_CONCURRENCY is at most 64.
_POOL: Final = 128

_slots: Slots | None = None  # made by the main process before it forks
_figures: Figures | None = None  # in a process of the pool
_began: dict[str, float] = {}  # by task id


def serve() -> None:
    """Serve them, if SLUICE_UPDATES_METRICS_BIND is set. Called in the main process, after its first fork."""
    if _slots is not None:
        from ..monitoring.collectors import Alive, Processes

        tasks = Processes(_slots, STATES, "task", "state", "sluice_pool_processes")
        monitoring.start(
            conf.metrics_bind(), tasks, Alive(Heartbeat("celery")), program="celery", sender=False
        )


@signals.worker_init.connect
def share(**kwargs: Any) -> None:
    global _slots
    if conf.metrics_bind() and monitoring.INSTALLED:
        _slots = slots(STATES, _POOL)


@signals.worker_process_init.connect
def take_a_slot(**kwargs: Any) -> None:
    """Of a process of the pool that ended, its successor continues the slot."""
    global _figures
    if _slots is not None:
        _figures = Figures(_slots, getattr(billiard.current_process(), "index", 0) % _POOL)
        _figures.publish(now=True)


@signals.task_prerun.connect
def begin(task_id: str, task: Any, **kwargs: Any) -> None:
    if _figures is not None and task.name != PING:
        _began[task_id] = _figures.begin()
        _figures.publish(now=True)


@signals.task_postrun.connect
def end(task_id: str, task: Any, state: str | None = None, **kwargs: Any) -> None:
    """A self-check's task, every few seconds, publishes what the sender has counted since the last task."""
    if _figures is None:
        return
    began = _began.pop(task_id, None)
    if began is not None:
        _figures.end((state or "").lower() if (state or "").lower() in STATES else "other", began)
    _figures.publish(now=True)


@signals.worker_process_shutdown.connect
def publish(**kwargs: Any) -> None:
    if _figures is not None:
        _figures.publish(now=True)
