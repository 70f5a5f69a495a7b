"""Whether a Celery worker works: every few seconds it sends itself a task.

`mysite.ping` goes to the queue that all workers share; each sends as many as it should get. Whoever carries
one out, a process of the pool, touches its worker's heartbeat file, and so does a crop that gets on. So the
file's age is that of the last round trip: broker, consumer, pool. What excuses a missing one, and touches
the file too, is a broker that is down, as long as the worker's loop goes round.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import threading
import time
import uuid
from typing import Any, Final

import billiard  # type: ignore[import-untyped]
from celery.worker import state
from django.db import Error as DatabaseError
from django.db import connection

from sluice_updates.broker.connection import Broker, BrokerDown

from .heartbeat import Heartbeat

logger = logging.getLogger(__name__)

TASK: Final = "mysite.ping"
EVERY_SECONDS: Final = 5.0
# Three pings without an answer: a worker that has nothing else to do is deaf.
DEAF_SECONDS: Final = 15.0
# A crop that doesn't get on for so long is stuck; a slow disk may well take half of that to write one.
STUCK_SECONDS: Final = 30.0
# The worker's loop may stand still for so long while it tries to connect.
_LOOP_SECONDS: Final = 30.0
# A ping that nobody took is of no use to those that come after it.
_EXPIRATION_SECONDS: Final = 10
_PAST_HELP: Final = 70  # EX_SOFTWARE


class Pulse(threading.Thread):
    """Sends the pings, watches the file, and ends the worker when it is past help. A daemon thread.

    `app` is the Celery application, `queue` the name of the workers' queue and of the exchange to it.
    """

    def __init__(self, app: Any, url: str, queue: str, heartbeat: Heartbeat) -> None:
        super().__init__(name="pulse", daemon=True)
        self._app = app
        self._url = url
        self._queue = queue
        self._heartbeat = heartbeat
        self._broker = Broker(url)
        self._seen = heartbeat.last()
        self._heard_at = self._turned_at = time.monotonic()

    def turn(self) -> None:
        """For the worker's loop to call: it goes round."""
        self._turned_at = time.monotonic()

    def run(self) -> None:
        # Once it is told to stop, a worker takes no more tasks, and nobody looks at its health.
        while state.should_stop is None and state.should_terminate is None:
            try:
                self._beat()
            except Exception:  # the pulse must not end before the worker does
                logger.exception("pulse")
            time.sleep(EVERY_SECONDS)

    def _beat(self) -> None:
        self._look()
        if not self._send(self._broker) and not self._broker_works():
            self._excuse()
            return
        busy = bool(state.active_requests)
        silence = time.monotonic() - self._heard_at
        if silence <= (STUCK_SECONDS if busy else DEAF_SECONDS):
            return
        if not self._broker_works() or (busy and not _database_works()):
            self._excuse()
            return
        self._look()
        if time.monotonic() - self._heard_at >= silence and state.should_stop is None:
            self._end(f"no task of its own has come back for {silence:.0f} s, though the broker works")

    def _look(self) -> None:
        last = self._heartbeat.last()
        if last != self._seen:
            self._seen = last
            self._heard_at = time.monotonic()

    def _excuse(self) -> None:
        if time.monotonic() - self._turned_at < _LOOP_SECONDS:
            self._heartbeat.touch()
        self._look()

    def _broker_works(self) -> bool:
        """Whether a fresh connection takes a message: our own may be at fault instead."""
        fresh = Broker(self._url)
        try:
            return self._send(fresh)
        finally:
            fresh.close()

    def _send(self, broker: Broker) -> bool:
        try:
            # False: the exchange isn't there yet, which the worker makes with the queue. The broker is.
            broker.publish(self._queue, self._queue, *self._message())
        except BrokerDown as error:
            logger.debug("no ping: %s", error)
            return False
        return True

    def _message(self) -> tuple[bytes, dict[str, Any]]:
        headers, properties, body, _ = self._app.amqp.create_task_message(str(uuid.uuid4()), TASK, (), {})
        return json.dumps(body).encode(), {
            "application_headers": headers,
            "correlation_id": properties["correlation_id"],
            "content_type": "application/json",
            "content_encoding": "utf-8",
            "expiration": str(_EXPIRATION_SECONDS * 1000),
        }

    def _end(self, why: str) -> None:
        """At once: an orderly end would wait for what is stuck."""
        logger.critical("exiting: %s", why)
        for child in billiard.active_children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)  # one that is stopped would outlive us
        logging.shutdown()
        os._exit(_PAST_HELP)


def _database_works() -> bool:
    """Whether it answers a fresh connection, in the time that the settings give it to."""
    connection.close()
    try:
        connection.ensure_connection()
    except DatabaseError:
        return False
    finally:
        connection.close()
    return True
