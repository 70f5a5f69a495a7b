"""The part of a Celery worker that talks to the broker, with what this project doesn't use left out."""

from __future__ import annotations

import logging
from typing import Any, Final

from celery import bootsteps
from celery.utils.threads import bound_open_broker_sockets
from celery.worker import consumer
from celery.worker.state import maybe_shutdown
from django.conf import settings

from . import pulse
from .heartbeat import Heartbeat

logger = logging.getLogger(__name__)

RETRY_SECONDS: Final = 2.0
# The broker's answers are waited for so long, and the connection is then made anew. Without it, a broker that
# stalls while the worker declares its queue is waited for without an end, even by one that was told to stop.
ANSWER_SECONDS: Final = 10.0
# Of a worker that stops, each of its five goodbyes: supervisor waits 60 s, also for the crop in hand.
GOODBYE_SECONDS: Final = 1.0
# Workers that talk about each other, their remote control, and queues for tasks with a delay: nothing here
# uses them, and each would need more permissions at the broker, and more queues in it.
_UNUSED: Final = ("Gossip", "Heart", "Control", "DelayedDelivery")


class Turn(bootsteps.StartStopStep):
    """Tells the pulse from the worker's event loop that it goes round."""

    requires = ("celery.worker.consumer.tasks:Tasks",)
    timer: Any = None

    def start(self, parent: Any) -> None:
        parent.turn()
        self.timer = parent.timer.call_repeatedly(pulse.EVERY_SECONDS, parent.turn)

    def stop(self, parent: Any) -> None:
        if self.timer is not None:
            self.timer.cancel()

    terminate = stop


class Consumer(consumer.Consumer):
    """Connects again within seconds, however long the broker was away, and stays alive meanwhile."""

    class Blueprint(consumer.Consumer.Blueprint):
        default_steps = [
            *(step for step in consumer.Consumer.Blueprint.default_steps if not step.endswith(_UNUSED)),
            Turn,
        ]

    def __init__(self, *args: Any, worker_options: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self.pulse: pulse.Pulse | None = None
        # Tasks requires Mingle, which requires Events: both are there, switched off.
        off = {"without_mingle": True, "without_gossip": True, "without_heartbeat": True}
        super().__init__(*args, worker_options={**(worker_options or {}), **off}, **kwargs)

    def turn(self) -> None:
        """The loop goes round. The first time, after the pool was forked, the pulse begins."""
        if self.pulse is None and settings.CELERY_BROKER_URL:
            queue = self.app.conf.task_default_queue
            self.pulse = pulse.Pulse(self.app, settings.CELERY_BROKER_URL, queue, Heartbeat("celery"))
            self.pulse.start()
        if self.pulse is not None:
            self.pulse.turn()

    def connect(self) -> Any:
        connection = super().connect()
        bound_open_broker_sockets(connection, ANSWER_SECONDS)
        return connection

    def stop(self) -> None:
        """A broker that answers no more doesn't keep the worker, which is then to finish its crop.

        An acknowledgement that is lost so is harmless: the crop is handed out again and found finished.
        """
        if self.connection:
            bound_open_broker_sockets(self.connection, GOODBYE_SECONDS)
        super().stop()

    def ensure_connected(self, conn: Any) -> Any:
        """Celery's own waits up to 32 s between tries; and meanwhile its timers stand still."""
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
