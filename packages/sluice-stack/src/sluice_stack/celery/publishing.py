"""Publishes tasks: confirmed by the broker, in bounded time, and without delaying a request.

Each process has one publishing thread with one connection. The connection is sluice_updates.broker's, since
kombu's time-outs don't bound a publish.

- In a request, `task.delay()` puts the task into the thread's backlog and returns. While the broker is down,
  up to BACKLOG tasks wait there, each for at most KEEP_SECONDS. They are lost if the process ends.
- Elsewhere (in a task, a job of beat, a command), `task.delay()` waits for the broker's confirm. Without one
  it raises kombu's OperationalError.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

import kombu
from asgiref.local import Local
from django.conf import settings
from django.core.signals import request_finished, request_started
from django.db import connections
from django.dispatch import Signal
from kombu.exceptions import OperationalError

from sluice_updates.broker.connection import Broker, BrokerDown
from sluice_updates.wakeup.background import BackgroundSender

from ..broker_password import broker_password

logger = logging.getLogger(__name__)

# Tasks of one process that may wait for the broker. Further ones are dropped and logged.
BACKLOG: Final = 1000
KEEP_SECONDS: Final = 600.0
RETRY_SECONDS: Final = 2.0
# For a caller outside a request. Connecting takes at most 3 s, each other step 1 s.
WAIT_SECONDS: Final = 10.0

# Sent in the publishing thread when the broker has confirmed a task. `sender` is the task's name, `args` are
# its positional arguments, `task_id` is its id.
task_confirmed: Final = Signal()


@dataclass(frozen=True)
class _Task:
    name: str
    task_id: str
    args: tuple[Any, ...]
    exchange: str
    routing_key: str
    body: bytes
    properties: dict[str, Any]
    outcome: Future[None] | None  # None: no caller waits for it
    created: float = field(default_factory=time.monotonic)


class Publisher(kombu.Producer):
    """Celery's producer in this stack. It declares nothing: the broker or the worker creates the queue."""

    def __init__(self, app: Any) -> None:
        super().__init__(app.connection_for_write(), auto_declare=False, serializer=app.conf.task_serializer)
        self._url = settings.CELERY_BROKER_URL
        self._broker: Broker | None = None
        self._failures = 0
        self._backlog: deque[_Task] = deque()
        self._retry_at = 0.0
        self._sender: BackgroundSender[_Task] = BackgroundSender(
            "tasks", self._take, BACKLOG, idle=self._idle, idle_seconds=RETRY_SECONDS
        )
        self._is_stopped = False
        atexit.register(self.stop)

    def or_given(self, producer: Any) -> contextlib.AbstractContextManager[Any]:
        """A context with the given producer, or with this one if there is none."""
        return contextlib.nullcontext(producer or self)

    def publish(  # type: ignore[override]
        self,
        body: Any,
        *,
        exchange: Any,
        routing_key: str,
        headers: dict[str, Any],
        serializer: str | None = None,
        compression: str | None = None,
        delivery_mode: int | str | None = None,
        expiration: float | None = None,
        **properties: Any,
    ) -> None:
        """Publish a task's message. Raises OperationalError, but only outside a request (see the module)."""
        for option in ("declare", "retry", "retry_policy", "timeout", "confirm_timeout", "mandatory"):
            properties.pop(option, None)
        encoded, content_type, content_encoding = self._prepare(
            body, serializer, compression=compression, headers=headers
        )
        if expiration is not None:
            properties["expiration"] = str(int(expiration * 1000))
        task = _Task(
            name=headers["task"],
            task_id=headers["id"],
            args=tuple(body[0]),
            exchange=getattr(exchange, "name", exchange) or "",
            routing_key=routing_key,
            body=encoded.encode() if isinstance(encoded, str) else encoded,
            properties={
                **{name: value for name, value in properties.items() if value is not None},
                "application_headers": headers,
                "content_type": content_type,
                "content_encoding": content_encoding,
                "delivery_mode": 1 if delivery_mode in (1, "transient") else 2,
            },
            outcome=None if _in_request() else Future(),
        )
        is_queued = self._sender.put(task)  # it logs a task that it drops
        if task.outcome is None:
            return
        if not is_queued:
            raise OperationalError(f"task {task.name}: {BACKLOG} tasks wait for the broker already")
        try:
            task.outcome.result(WAIT_SECONDS)
        except TimeoutError:
            raise OperationalError(f"task {task.name}: no confirm in {WAIT_SECONDS:g} s") from None

    def _take(self, tasks: list[_Task]) -> None:
        for task in tasks:
            if len(self._backlog) < BACKLOG or task.outcome is not None:
                self._backlog.append(task)
            else:
                logger.error("task %s (%s) dropped: %d wait for the broker", task.name, task.task_id, BACKLOG)
        if any(task.outcome is not None for task in tasks) or time.monotonic() >= self._retry_at:
            self._empty()

    def _empty(self) -> None:
        """Publish the backlog in order, until it is empty or the broker fails."""
        try:
            while self._backlog and not self._is_stopped:
                try:
                    self._confirm(self._backlog[0])
                except BrokerDown as error:
                    self._failed(error)
                    return
                self._failures = 0
                task = self._backlog.popleft()
                if task.outcome is not None:
                    task.outcome.set_result(None)
        finally:
            connections.close_all()  # this thread's: receivers of the signal may have opened some

    def _confirm(self, task: _Task) -> None:
        if self._broker is None:
            self._broker = Broker(self._url, broker_password)
        if not self._broker.publish(task.exchange, task.routing_key, task.body, task.properties):
            raise BrokerDown(f"no exchange {task.exchange}, or a full queue")
        for _, failure in task_confirmed.send_robust(task.name, args=task.args, task_id=task.task_id):
            if isinstance(failure, Exception):
                logger.warning("task %s (%s) is published, but %s", task.name, task.task_id, failure)

    def _failed(self, error: BrokerDown) -> None:
        """Raise the error for callers that wait. Drop tasks that have waited longer than KEEP_SECONDS."""
        now = time.monotonic()
        self._retry_at = now + RETRY_SECONDS
        kept: deque[_Task] = deque()
        for task in self._backlog:
            if task.outcome is not None:
                task.outcome.set_exception(OperationalError(f"task {task.name}: {error}"))
            elif now - task.created > KEEP_SECONDS:
                logger.error(
                    "task %s (%s) dropped, %.0f s old: %s", task.name, task.task_id, KEEP_SECONDS, error
                )
            else:
                kept.append(task)
        self._failures += 1
        if kept and self._failures.bit_count() == 1:  # the 1st, 2nd, 4th, 8th …
            logger.warning("%d tasks wait for the broker: %s", len(kept), error)
        self._backlog = kept

    def _idle(self) -> None:
        if self._backlog:
            self._empty()
        elif self._broker is not None:
            self._broker.tick()

    def stop(self) -> None:
        """Stop publishing, and log how many tasks are lost. Runs at the interpreter's exit, or earlier."""
        atexit.unregister(self.stop)
        self._sender.flush()
        self._is_stopped = True
        if self._backlog:
            logger.error("%d tasks lost: the process ends while the broker is down", len(self._backlog))


# --- whether this thread is handling a request ---

_current: Final = Local()


def _in_request() -> bool:
    return getattr(_current, "request", False)


def _request_begins(**kwargs: Any) -> None:
    _current.request = True


def _request_ends(**kwargs: Any) -> None:
    _current.request = False


request_started.connect(_request_begins)
request_finished.connect(_request_ends)
