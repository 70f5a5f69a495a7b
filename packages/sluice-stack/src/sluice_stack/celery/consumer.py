"""The consumer of a Celery worker: its connection to the broker, without the steps that the stack omits."""

from __future__ import annotations

import logging
from typing import Any, Final

from celery import bootsteps
from celery.utils.threads import bound_open_broker_sockets
from celery.worker import consumer
from celery.worker.state import maybe_shutdown
from django.conf import settings

from ..health.heartbeat import Heartbeat
from . import metrics, self_check
from .delays import Delays

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 2.0
# The worker waits this long for an answer from the broker, then opens a new connection. Without a limit, a
# broker that stalls while the queue is declared would block it for ever, even during a stop.
ANSWER_SECONDS: Final = 10.0
# For each of the five requests that a stopping worker sends. supervisor waits 60 s, the running task
# included.
GOODBYE_SECONDS: Final = 1.0
# Gossip between workers, their remote control, and Celery's own step for delayed tasks (see delays.py). Each
# would need more permissions and more queues at the broker.
_UNUSED: Final = ("Gossip", "Heart", "Control", "DelayedDelivery")


class Turn(bootsteps.StartStopStep):
    """A timer in the worker's event loop that tells the self-check that the loop runs."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    timer: Any = None

    def start(self, parent: Any) -> None:
        parent.turn()
        self.timer = parent.timer.call_repeatedly(self_check.EVERY_SECONDS, parent.turn)

    def stop(self, parent: Any) -> None:
        if self.timer is not None:
            self.timer.cancel()

    terminate = stop


class Consumer(consumer.Consumer):
    """Celery's consumer.

    It reconnects within seconds after any outage, and its worker stays healthy meanwhile.
    """

    class Blueprint(consumer.Consumer.Blueprint):
        default_steps = [
            *(step for step in consumer.Consumer.Blueprint.default_steps if not step.endswith(_UNUSED)),
            Delays,
            Turn,
        ]

    def __init__(self, *args: Any, worker_options: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self.self_check: self_check.SelfCheck | None = None
        self._turned = False
        # The step Tasks requires Mingle, which requires Events. So both are present, but switched off.
        off = {"without_mingle": True, "without_gossip": True, "without_heartbeat": True}
        super().__init__(*args, worker_options={**(worker_options or {}), **off}, **kwargs)

    def turn(self) -> None:
        """Report that the loop runs. The first call, after the fork of the pool, starts the rest."""
        if not self._turned:
            self._turned = True
            metrics.serve()
        if self.self_check is None and settings.CELERY_BROKER_URL:
            queue = self.app.conf.task_default_queue
            self.self_check = self_check.SelfCheck(
                self.app, settings.CELERY_BROKER_URL, queue, Heartbeat("celery")
            )
            self.self_check.start()
        if self.self_check is not None:
            self.self_check.turn()

    def connect(self) -> Any:
        connection = super().connect()
        bound_open_broker_sockets(connection, ANSWER_SECONDS)
        return connection

    def stop(self) -> None:
        """Stop without waiting for a broker that hangs, so that the time remains for the running task.

        If an acknowledgement is lost, the task runs again, which is harmless: tasks are idempotent.
        """
        if self.connection:
            bound_open_broker_sockets(self.connection, GOODBYE_SECONDS)
        super().stop()

    def ensure_connected(self, conn: Any) -> Any:
        """Retry every RETRY_SECONDS. Celery's own waits up to 32 s between attempts, and stops the timers."""
        self.turn()

        def waiting() -> None:
            self.turn()
            maybe_shutdown()

        tries = 0

        def failed(error: Exception, interval: float) -> None:
            nonlocal tries
            tries += 1
            if tries.bit_count() == 1:  # the 1st, 2nd, 4th, 8th …
                logger.warning("no broker yet, after %d tries: %s: %s", tries, conn.as_uri(), error)

        self.first_connection_attempt = False
        return conn.ensure_connection(
            failed,
            interval_start=RETRY_SECONDS,
            interval_step=0,
            interval_max=RETRY_SECONDS,
            callback=waiting,
        )
