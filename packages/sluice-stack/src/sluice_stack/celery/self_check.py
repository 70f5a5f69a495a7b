"""The self-check of a Celery worker: every few seconds it sends itself a task, `sluice_stack.ping`.

The task goes to the queue that all workers share; each sends as many as it should get. The process of the
pool that runs one touches its worker's heartbeat file, and so does a crop that makes progress. So the file's
age is that of the last round trip: broker, consumer, pool. A missing round trip is excused, and the file
touched, while the broker is down, as long as the worker's event loop runs.
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

from ..broker_password import broker_password
from ..health.heartbeat import Heartbeat
from .ping import TASK

logger = logging.getLogger(__name__)

EVERY_SECONDS: Final = 5.0
# Three pings without an answer: a worker that has nothing else to do is deaf.
DEAF_SECONDS: Final = 15.0
# A task without progress for so long is stuck; to write a crop to a slow disk may take half of that.
STUCK_SECONDS: Final = 30.0
# The worker's loop may be blocked for so long while it tries to connect.
_LOOP_SECONDS: Final = 30.0
# A ping that no worker took is dropped: it would only delay those after it.
_EXPIRATION_SECONDS: Final = 10
_BROKEN: Final = 70  # EX_SOFTWARE


class SelfCheck(threading.Thread):
    """Sends the pings, watches the file, and ends the worker if it is broken. A daemon thread.

    `app` is the Celery application, `queue` the name of the workers' queue and of the exchange in front.
    """

    def __init__(self, app: Any, url: str, queue: str, heartbeat: Heartbeat) -> None:
        super().__init__(name="self-check", daemon=True)
        self._app = app
        self._url = url
        self._queue = queue
        self._heartbeat = heartbeat
        self._broker = Broker(url, broker_password)
        self._seen = heartbeat.last()
        self._heard_at = self._turned_at = time.monotonic()

    def turn(self) -> None:
        """The worker's loop calls this: it runs."""
        self._turned_at = time.monotonic()

    def run(self) -> None:
        # A worker that is told to stop takes no more tasks, and its health is no longer checked.
        while state.should_stop is None and state.should_terminate is None:
            try:
                self._check()
            except Exception:  # the self-check must not end before the worker does
                logger.exception("self-check")
            time.sleep(EVERY_SECONDS)

    def _check(self) -> None:
        self._read()
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
        self._read()
        if time.monotonic() - self._heard_at >= silence and state.should_stop is None:
            self._end(f"its own tasks have not come back for {silence:.0f} s, though the broker works")

    def _read(self) -> None:
        last = self._heartbeat.last()
        if last != self._seen:
            self._seen = last
            self._heard_at = time.monotonic()

    def _excuse(self) -> None:
        if time.monotonic() - self._turned_at < _LOOP_SECONDS:
            self._heartbeat.touch()
        self._read()

    def _broker_works(self) -> bool:
        """Whether a fresh connection takes a message: our own may be at fault instead."""
        fresh = Broker(self._url, broker_password)
        try:
            return self._send(fresh)
        finally:
            fresh.close()

    def _send(self, broker: Broker) -> bool:
        try:
            # False: there is no exchange yet, which the worker makes with the queue; but there is a broker.
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
        """At once: a graceful stop would wait for the task that is stuck."""
        logger.critical("exiting: %s", why)
        for child in billiard.active_children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)  # one that is stopped would outlive us
        logging.shutdown()
        os._exit(_BROKEN)


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
