"""The self-check of a Celery worker: every few seconds it publishes a ping, the task `sluice_stack.ping`.

All workers share one queue, so a ping may reach another worker; each worker publishes as many as it can
expect to receive. The process of the pool that runs a ping touches its worker's heartbeat file. A task may
touch it too while it makes progress. So the file's age is the time since the last round trip through broker,
consumer and pool. While the broker is down, the self-check touches the file itself, as long as the worker's
event loop runs.
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
# Three missing pings: an idle worker no longer receives tasks.
DEAF_SECONDS: Final = 15.0
# A task without progress for this long is stuck. Writing a crop to a slow disk takes up to half of it.
STUCK_SECONDS: Final = 30.0
# The worker's loop may block this long while it connects.
_LOOP_SECONDS: Final = 30.0
# The broker drops a ping that no worker has taken by then: it would only delay the next ones.
_EXPIRATION_SECONDS: Final = 10
_BROKEN: Final = 70  # EX_SOFTWARE


class SelfCheck(threading.Thread):
    """A daemon thread that publishes pings, watches the heartbeat file, and ends a broken worker.

    `app` is the Celery application, `url` the broker's, `queue` the name of the workers' queue and its
    exchange.
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
        """Report that the worker's event loop runs. Called from that loop."""
        self._turned_at = time.monotonic()

    def run(self) -> None:
        # A stopping worker takes no more tasks, so it receives no pings.
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
        """Whether the broker accepts a message on a new connection. The old one may be the broken part."""
        fresh = Broker(self._url, broker_password)
        try:
            return self._send(fresh)
        finally:
            fresh.close()

    def _send(self, broker: Broker) -> bool:
        try:
            # The result is False while the worker has not yet declared the exchange. The broker works all the
            # same.
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
        """End the worker at once. A graceful stop would wait for the stuck task."""
        logger.critical("exiting: %s", why)
        for child in billiard.active_children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)  # SIGTERM would not end a child that is stopped (SIGSTOP)
        logging.shutdown()
        os._exit(_BROKEN)


def _database_works() -> bool:
    """Whether the database accepts a new connection within the settings' connect_timeout."""
    connection.close()
    try:
        connection.ensure_connection()
    except DatabaseError:
        return False
    finally:
        connection.close()
    return True
