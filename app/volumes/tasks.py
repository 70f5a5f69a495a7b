"""Celery's tasks. Each only calls what does the work."""

import tifffile  # noqa: F401  (here, before the worker forks: the first crop would wait for it for a second)

from mysite.celery import app
from sluice_stack.heartbeat import Heartbeat

from . import handover, jobs, reading

reading.zarr()  # likewise


@app.task(name=handover.TASK)
def cut_crop(crop_id: int) -> None:
    """Cut a crop, if it still waits. As long as it gets on, so does the worker (mysite/pulse.py)."""
    jobs.run(crop_id, alive=Heartbeat("celery").beat)
