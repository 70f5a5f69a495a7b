"""Celery's tasks. Each only calls what does the work."""

from typing import Any

from celery import shared_task, signals

from sluice_stack.health.heartbeat import Heartbeat

from . import handover, jobs


@shared_task(name=handover.TASK)
def cut_crop(crop_id: int) -> None:
    """Cut a crop, if it still waits. The worker is healthy as long as the crop makes progress
    (sluice_stack.celery.self_check)."""
    jobs.run(crop_id, alive=Heartbeat("celery").beat)


@signals.worker_init.connect
def import_early(**kwargs: Any) -> None:
    """Before the pool is forked: the first crop would wait a second for it."""
    import tifffile  # noqa: F401

    from . import reading

    reading.zarr()
