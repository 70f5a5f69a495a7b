"""The stack's defaults for Celery. The setting `CELERY_NAME` of a project overrides the default of NAME.

https://docs.celeryq.dev/en/stable/userguide/configuration.html
"""

from __future__ import annotations

import logging
from typing import Any

from celery import signals
from django.conf import settings
from kombu import Queue

from ..postgresql import answer_within
from . import ping
from .delays import QUEUE


def defaults() -> dict[str, Any]:
    """Celery's settings by their lower-case names. Read when Celery first needs a setting."""
    return {
        # Durable and replicated. The broker's definitions create it, so publishers need no permission to do
        # so. Where there are no definitions, the worker creates it.
        "task_queues": [
            Queue(QUEUE, routing_key=QUEUE, queue_arguments={"x-queue-type": "quorum"}, durable=True)
        ],
        "task_default_queue": QUEUE,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        # Without a broker, as in development, a task runs in the process that calls it.
        "task_always_eager": not settings.CELERY_BROKER_URL,
        "task_eager_propagates": settings.DEBUG,
        # A task whose worker dies runs again, so tasks must be idempotent.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # Seconds. The largest crop takes a fraction of this.
        "task_time_limit": 3600,
        "worker_prefetch_multiplier": 1,
        # Quorum queues have no global prefetch limit, and a task that is fetched early would wait behind a
        # long one.
        "worker_detect_quorum_queues": True,
        "worker_consumer": "sluice_stack.celery.consumer:Consumer",
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": 3,
        "broker_heartbeat": 15,
        "broker_transport_options": {"confirm_publish": True},
        # KiB. Python's allocator keeps memory after a large crop; only a new process frees it.
        "worker_max_memory_per_child": 400_000,
        "beat_max_loop_interval": 5,
    }


@signals.worker_init.connect
def bound_the_database(**kwargs: Any) -> None:
    """Limit waits for the database, before the pool forks. A worker that stops has 60 s for its tasks."""
    answer_within(20)  # seconds


@signals.setup_logging.connect
def keep_djangos_logging(**kwargs: Any) -> None:
    """Keep Celery from setting up its own logging: it doesn't if this signal has a receiver."""
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).addFilter(without_pings)


def without_pings(record: logging.LogRecord) -> bool:
    """Filter of a logger: drops the two lines that Celery logs every five seconds for a worker's own ping."""
    about = record.args
    return record.levelno > logging.INFO or not (isinstance(about, dict) and about.get("name") == ping.TASK)


@signals.worker_process_shutdown.connect
def flush_wake_ups(**kwargs: Any) -> None:
    """Flush the sender, as its exit handler would: a process of the pool ends without exit handlers."""
    from sluice_updates.wakeup import sender

    sender.flush()
