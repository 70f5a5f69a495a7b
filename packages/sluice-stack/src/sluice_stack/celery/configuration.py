"""The stack's defaults for Celery. A project overrides each by the setting `CELERY_` and its name.

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
    return {
        # Durable and replicated. The broker's definitions make it, so that a publisher needs no permission
        # to; elsewhere the worker makes it.
        "task_queues": [
            Queue(QUEUE, routing_key=QUEUE, queue_arguments={"x-queue-type": "quorum"}, durable=True)
        ],
        "task_default_queue": QUEUE,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        # Without a broker, as in development, a task runs where it is called.
        "task_always_eager": not settings.CELERY_BROKER_URL,
        "task_eager_propagates": settings.DEBUG,
        # A task whose worker dies is run again, so tasks must be idempotent.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # Seconds; many times what the largest crop takes.
        "task_time_limit": 3600,
        "worker_prefetch_multiplier": 1,
        # A quorum queue has no global limit; and a task that is fetched early would wait behind a long one.
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
        # Memory that Python's allocator keeps after large crops is freed with the process. KiB.
        "worker_max_memory_per_child": 400_000,
        "beat_max_loop_interval": 5,
    }


@signals.worker_init.connect
def bound_the_database(**kwargs: Any) -> None:
    """Before the pool is forked. Seconds: a worker that stops has 60 s for the tasks that it runs."""
    answer_within(20)


@signals.setup_logging.connect
def keep_djangos_logging(**kwargs: Any) -> None:
    """This receiver keeps Celery from setting up its own logging."""
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).addFilter(without_pings)


def without_pings(record: logging.LogRecord) -> bool:
    """Not two lines every five seconds for the worker's task to itself."""
    about = record.args
    return record.levelno > logging.INFO or not (isinstance(about, dict) and about.get("name") == ping.TASK)


@signals.worker_process_shutdown.connect
def flush_wake_ups(**kwargs: Any) -> None:
    """A process of the pool ends without the interpreter's exit, where the sender would flush."""
    from sluice_updates.wakeup import sender

    sender.flush()
