"""Celery tasks. Each only calls the function that does the work."""

from typing import Any

from celery import shared_task, signals

from sluice_stack.health.heartbeat import Heartbeat

from . import handover, jobs


@shared_task(name=handover.TASK)
def cut_crop(crop_id: int) -> None:
    """Cut a crop, if it has not ended. Progress counts as a heartbeat of the worker (sluice_stack.celery)."""
    jobs.run(crop_id, alive=Heartbeat("celery").beat)


@signals.worker_init.connect
def import_early(**kwargs: Any) -> None:
    """Import the libraries before the pool forks. Otherwise the first crop would wait a second for it."""
    import tifffile  # noqa: F401

    from . import reading

    reading.zarr()
