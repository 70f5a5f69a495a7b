"""The Celery application: `celery -A mysite worker`, `celery -A mysite beat`.

Nothing here waits for the broker: neither this module's import nor a process's start. Gunicorn doesn't even
import it; it hands crops over by volumes.handover.

https://docs.celeryq.dev/en/stable/userguide/configuration.html
"""

from __future__ import annotations

import logging
import os
from functools import cached_property
from typing import Any

from celery import Celery, signals
from kombu import Queue

from sluice_stack.postgresql import answer_within

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

# What volumes.handover publishes to, through the default exchange. Durable and replicated; the broker's
# definitions make it, so that a producer needs no right to, and the worker makes it where they didn't.
QUEUE = "celery"


class SluiceCelery(Celery):
    @cached_property
    def Beat(self) -> Any:
        """Beat runs our jobs itself (mysite/beat.py), whatever scheduler the command line names."""
        return self.subclass_with_self("sluice_stack.beat:Beat")


app = SluiceCelery("mysite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    task_queues=[Queue(QUEUE, routing_key=QUEUE, queue_arguments={"x-queue-type": "quorum"}, durable=True)],
    task_default_queue=QUEUE,
    task_serializer="json",
    accept_content=["json"],
    task_ignore_result=True,
    # A job whose worker dies is run again; so jobs must be idempotent.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    # Seconds; many times what the largest crop takes. Beat then hands it over again, a few times.
    task_time_limit=3600,
    worker_prefetch_multiplier=1,
    # The quorum queue has no global limit; and what is prefetched would wait behind a long crop.
    worker_detect_quorum_queues=True,
    worker_consumer="sluice_stack.celery_consumer:Consumer",
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_connection_timeout=3,
    broker_heartbeat=15,
    broker_transport_options={"confirm_publish": True},
    # What Python's allocator has hoarded after large crops goes back with the process. KiB.
    worker_max_memory_per_child=400_000,
    # Beat runs these functions itself, see mysite/beat.py. Seconds.
    beat_schedule={
        "hand over crops": {"task": "volumes.handover.hand_over_waiting", "schedule": 10.0},
        "remove discarded crops": {"task": "volumes.retention.remove_discarded", "schedule": 10.0},
        "delete old crops": {"task": "volumes.retention.clean_up", "schedule": 3600.0},
        "trim updates": {"task": "sluice_updates.trimming.trim", "schedule": 3600.0},
        "delete old sessions": {"task": "sluice_stack.session_cleaning.clean_up", "schedule": 3600.0},
    },
    beat_max_loop_interval=5,
)
app.autodiscover_tasks()


# Acknowledged at once: of a worker that dies over it, nobody needs to hear again.
@app.task(name="mysite.ping", acks_late=False)
def ping() -> None:
    """A worker's to itself and the others: whoever gets it works. See mysite/pulse.py."""
    from sluice_stack.heartbeat import Heartbeat

    Heartbeat("celery").touch()


@signals.worker_init.connect
def bound_the_database(**kwargs: Any) -> None:
    """Before the pool is forked. Seconds: a worker that is told to stop has 60 s for all that is in hand."""
    answer_within(20)


@signals.setup_logging.connect
def keep_djangos_logging(**kwargs: Any) -> None:
    """That there is a receiver keeps Celery from setting up logging of its own."""
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).addFilter(without_pings)


def without_pings(record: logging.LogRecord) -> bool:
    """Not two lines every five seconds about a task that only says that all is well."""
    about = record.args
    return record.levelno > logging.INFO or not (isinstance(about, dict) and about.get("name") == ping.name)


@signals.worker_process_shutdown.connect
def flush_wake_ups(**kwargs: Any) -> None:
    """A process of the pool ends without the interpreter's exit, where the sender would do this."""
    from sluice_updates.wakeup import sender

    sender.flush()
