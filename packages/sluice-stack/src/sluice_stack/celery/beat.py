"""Beat runs its few jobs itself, each in a thread of its own.

As Celery means it, beat sends each job to a worker, through the broker. These jobs are for when there was no
broker (crops that were not handed over) or concern the database only: they must not wait for what they make
up for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from celery import beat
from celery.apps.beat import Beat as CelerysBeat
from django.db import InterfaceError, OperationalError, connections
from django.utils.module_loading import import_string

from .heartbeat import Heartbeat

logger = logging.getLogger(__name__)


class Beat(CelerysBeat):
    """The command, with the scheduler below, whichever the command line names."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "scheduler": "sluice_stack.beat:LocalScheduler"})


class LocalScheduler(beat.Scheduler):
    """Celery's schedule (`beat_schedule` in mysite/celery.py), kept in memory; a "task" is a function's
    dotted path."""

    producer = None  # Celery's would connect to the broker, and wait for it

    def setup_schedule(self) -> None:
        super().setup_schedule()
        self.heartbeat = Heartbeat("beat")
        self.runners = {entry.task: Runner(import_string(entry.task)) for entry in self.schedule.values()}

    def tick(self, *args: Any, **kwargs: Any) -> float:
        self.heartbeat.beat()
        return float(super().tick(*args, **kwargs))

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        self.runners[entry.task].start()


class Runner:
    """Runs one function in the background, never twice at a time."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.name = f"{function.__module__}.{function.__qualname__}"
        self._function = function
        self._thread: threading.Thread | None = None

    def start(self) -> bool:
        """Run it now, unless the last run still goes on, as it may while the database doesn't answer."""
        if self._thread is not None and self._thread.is_alive():
            logger.warning("%s: the last run has not ended yet", self.name)
            return False
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()
        return True

    def _run(self) -> None:
        try:
            self._function()
        except (OperationalError, InterfaceError) as error:  # the database comes and goes: a line will do
            logger.warning("%s: %s", self.name, " ".join(str(error).split()))
        except Exception:
            logger.exception("%s failed", self.name)
        finally:
            connections.close_all()  # of this thread
