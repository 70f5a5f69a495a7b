"""Metrics of Gunicorn: each worker counts for itself, and any of them answers with the sums.

The master opens the port and the shared memory before it forks. Functions with the names of Gunicorn's hooks
are those; https://gunicorn.org/reference/settings/#server-hooks
"""

from __future__ import annotations

import logging
import os
from typing import Any, Final

from sluice_updates import monitoring
from sluice_updates.monitoring.listener import Listener, open_socket

from ..monitoring.figures import Figures, slots

logger = logging.getLogger(__name__)

STATUSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx", "none")
HEALTH_CHECKS: Final = ("/healthz", "/readyz")


class Metrics:
    """The hooks, with what they share. `workers`: how many worker processes there are."""

    def __init__(self, bind: str, workers: int) -> None:
        self._bind = bind
        self._socket: Any = None
        # During a reload there are twice as many.
        self._slots = slots(STATUSES, 2 * workers + 2)
        self._owners: dict[int, Any] = {}  # worker by slot, in the master
        self._figures: Figures | None = None  # in a worker
        self._pid = 0

    def when_ready(self, arbiter: Any) -> None:
        try:
            self._socket = self._socket or open_socket(self._bind)
        except OSError as error:
            logger.warning("no metrics: %s can't be listened on: %s", self._bind, error)

    def pre_fork(self, arbiter: Any, worker: Any) -> None:
        free = [slot for slot in range(len(self._slots)) if slot not in self._owners]
        worker.metrics_slot = free[0] if free else None
        if free:
            self._owners[free[0]] = worker

    def child_exit(self, arbiter: Any, worker: Any) -> None:
        slot = worker.metrics_slot
        if slot is not None and self._owners.pop(slot, None) is not None:
            self._slots.end(slot)

    def post_worker_init(self, worker: Any) -> None:
        if self._socket is None or worker.metrics_slot is None:
            return
        self._pid = os.getpid()
        figures = self._figures = Figures(self._slots, worker.metrics_slot)
        notify = worker.notify

        def notify_and_publish() -> None:
            """Called in the worker's loop, at least once a second."""
            notify()
            figures.publish()

        worker.notify = notify_and_publish
        self._listen()

    def worker_exit(self, arbiter: Any, worker: Any) -> None:
        if self._figures is not None and os.getpid() == self._pid:  # the master calls it, too
            self._figures.publish(now=True)

    def pre_request(self, worker: Any, request: Any) -> None:
        if self._figures is not None:
            request.sluice_began = self._figures.begin()

    def post_request(self, worker: Any, request: Any, environ: Any, response: Any) -> None:
        if self._figures is None:
            return
        status = getattr(response, "status_code", None)
        event = f"{status // 100}xx" if isinstance(status, int) else "none"
        if environ.get("PATH_INFO") in HEALTH_CHECKS:
            self._figures.forget()
        else:
            self._figures.end(event if event in STATUSES else "none", request.sluice_began)

    def _listen(self) -> None:
        from sluice_updates.monitoring.collector import registry, render

        from ..monitoring.collectors import Processes

        found = registry("wsgi", Processes(self._slots, STATUSES, "http_request", "status", "sluice_workers"))

        def answer() -> tuple[str, bytes]:
            if self._figures is not None:
                self._figures.publish(now=True)
            return render(found)

        Listener(self._socket, answer).start()


def wanted(bind: str) -> bool:
    """Whether there are metrics; says so in the log if they are wanted and can't be."""
    if bind and not monitoring.INSTALLED:
        logger.warning(
            "no metrics: prometheus-client is not installed; install sluice-stack[metrics], or unset"
            " METRICS_BIND and MONITORING"
        )
    return bool(bind) and monitoring.INSTALLED
