"""Beat: it sends tasks to the workers, like Celery's, and also runs jobs itself, each in its own thread.

A job is a function without arguments. The schedule names it by its dotted path instead of a task's name. Use
jobs for work that must not wait for the broker: publishing tasks that were lost, or cleaning up the database.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import beat
from celery.apps.beat import Beat as CelerysBeat
from django.db import InterfaceError, OperationalError, connections
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError as BrokerError

from sluice_updates import conf, monitoring

from ..health.heartbeat import Heartbeat
from ..housekeeping import JOBS
from ..monitoring import jobs

logger = logging.getLogger(__name__)


class Beat(CelerysBeat):
    """The command `celery beat`, always with the scheduler below."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "scheduler": "sluice_stack.celery.beat:LocalScheduler"})


class LocalScheduler(beat.Scheduler):
    """The schedule, in memory: JOBS and the setting CELERY_BEAT_SCHEDULE."""

    producer = None  # Celery's would connect to the broker and wait for it

    def setup_schedule(self) -> None:
        self.merge_inplace({**JOBS, **self.app.conf.beat_schedule})
        self.heartbeat = Heartbeat("beat")
        _serve_metrics(self.heartbeat)
        self.runners = {entry.name: self._runner(entry) for entry in self.schedule.values()}

    def tick(self, *args: Any, **kwargs: Any) -> float:
        self.heartbeat.beat()
        return float(super().tick(*args, **kwargs))

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        self.runners[entry.name].start()

    def _runner(self, entry: Any) -> Runner:
        """The runner of an entry. Raises ImportError if its name is neither a task nor a function."""
        if entry.task in self.app.tasks:
            return Runner(partial(self.apply_async, entry, advance=False), entry.task)
        return Runner(import_string(entry.task), entry.task)


class Runner:
    """Runs one function in a background thread, one run at a time."""

    def __init__(self, function: Callable[[], object], name: str) -> None:
        self.name = name
        self._function = function
        self._thread: threading.Thread | None = None

    def start(self) -> bool:
        """Start a run.

        Returns False if the previous run is still going, for example while the database hangs.
        """
        if self._thread is not None and self._thread.is_alive():
            logger.warning("%s: the last run has not ended yet", self.name)
            return False
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()
        return True

    def _run(self) -> None:
        succeeded = False
        try:
            self._function()
            succeeded = True
        except (OperationalError, InterfaceError, BrokerError) as error:  # an outage: needs no traceback
            logger.warning("%s: %s", self.name, " ".join(str(error).split()))
        except Exception:
            logger.exception("%s failed", self.name)
        finally:
            connections.close_all()  # this thread's
            jobs.runs[self.name] += 1
            jobs.failures[self.name] += not succeeded
            if succeeded:
                jobs.succeeded_at[self.name] = time.time()


def _serve_metrics(heartbeat: Heartbeat) -> None:
    if conf.metrics_bind() and monitoring.INSTALLED:
        from ..monitoring.collectors import Alive, Jobs

        monitoring.start(conf.metrics_bind(), Jobs(), Alive(heartbeat), program="beat")
