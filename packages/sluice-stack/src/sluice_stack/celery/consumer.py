"""The part of a Celery worker that talks to the broker, without the parts that the stack doesn't use."""

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
# For so long the worker waits for an answer of the broker, then it makes a new connection. Otherwise it would
# wait for ever, even when told to stop, if the broker stalls while the queue is declared.
ANSWER_SECONDS: Final = 10.0
# Each of the five goodbyes of a worker that stops: supervisor waits 60 s, for the running task too.
GOODBYE_SECONDS: Final = 1.0
# Gossip between workers, their remote control, and Celery's own step for delayed tasks (delays.py): each
# would need more permissions at the broker, and more queues in it.
_UNUSED: Final = ("Gossip", "Heart", "Control", "DelayedDelivery")


class Turn(bootsteps.StartStopStep):
    """Tells the self-check from the worker's event loop that the loop runs."""

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
    """Reconnects within seconds, however long the broker was down, and stays healthy meanwhile."""

    class Blueprint(consumer.Consumer.Blueprint):
        default_steps = [
            *(step for step in consumer.Consumer.Blueprint.default_steps if not step.endswith(_UNUSED)),
            Delays,
            Turn,
        ]

    def __init__(self, *args: Any, worker_options: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self.self_check: self_check.SelfCheck | None = None
        self._turned = False
        # Tasks requires Mingle, which requires Events: both are there, switched off.
        off = {"without_mingle": True, "without_gossip": True, "without_heartbeat": True}
        super().__init__(*args, worker_options={**(worker_options or {}), **off}, **kwargs)

    def turn(self) -> None:
        """The loop runs. The first time, after the pool was forked, metrics and self-check begin."""
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
        """A broker that doesn't answer doesn't delay the worker, which then finishes its task.

        An acknowledgement that is lost by this is harmless: the task is run again, and is idempotent.
        """
        if self.connection:
            bound_open_broker_sockets(self.connection, GOODBYE_SECONDS)
        super().stop()

    def ensure_connected(self, conn: Any) -> Any:
        """Celery's own waits up to 32 s between tries, and its timers stop meanwhile."""
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
