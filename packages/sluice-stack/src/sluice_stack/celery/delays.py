"""Tasks with a countdown or an ETA: they wait in the broker, not in a worker.

Celery's worker would keep such a task in memory until it is due, and a quorum queue would deliver no other
task to it meanwhile. Celery has a solution: 28 queues, through which a message falls level by level. It is
used here with one change. Celery needs a topic exchange of its own for it, for which every publisher needs
more permissions. Here the last level is bound to the tasks' queue instead.

https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/rabbitmq.html#using-quorum-queues
"""

from __future__ import annotations

import logging
import math
import re
from datetime import datetime
from typing import Any, Final

import amqp
from celery import bootsteps
from kombu.transport import native_delayed_delivery as levels

logger = logging.getLogger(__name__)

QUEUE: Final = "celery"
FIRST_LEVEL: Final = levels.level_name(levels.MAX_LEVEL)
LONGEST: Final = 2**levels.MAX_NUMBER_OF_BITS_TO_USE - 1  # seconds: eight years


def seconds_until(countdown: float | None, eta: datetime | str | None, now: datetime) -> int:
    """Whole seconds until the task is due, rounded up; 0 if it is due now."""
    if isinstance(eta, str):
        eta = datetime.fromisoformat(eta)
    if eta is not None:
        countdown = (eta - now if eta.tzinfo else eta - now.replace(tzinfo=None)).total_seconds()
    return min(max(math.ceil(countdown or 0), 0), LONGEST)


def redirect(options: dict[str, Any], seconds: int) -> None:
    """Change a message's destination in `options`: if it must wait, to the first level of the delays.

    A retried task has the destination of its previous message, which may be the last level. That is undone.
    """
    if options.get("exchange") == levels.CELERY_DELAYED_DELIVERY_EXCHANGE:
        del options["exchange"]
        options["queue"] = re.sub(r"^([01]\.)+", "", options.pop("routing_key"))
    if seconds:
        queue = options.pop("queue", None) or QUEUE
        options["exchange"] = FIRST_LEVEL
        options["routing_key"] = levels.calculate_routing_key(seconds, getattr(queue, "name", queue))


class Delays(bootsteps.StartStopStep):
    """Declares the levels each time a worker connects. It replaces Celery's step."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        connection = parent.connection
        try:
            levels.declare_native_delayed_delivery_exchanges_and_queues(connection, "quorum")
            for queue in parent.app.amqp.queues.values():
                queue.bind(connection.default_channel).bind_to(
                    levels.CELERY_DELAYED_DELIVERY_EXCHANGE, routing_key=f"#.{queue.name}"
                )
        except amqp.AccessRefused as error:
            logger.warning(
                "tasks with a countdown, retries included, can't wait in the broker: %s;"
                " grant the permissions in docs/how-to/add-a-task.md",
                error.reply_text,
            )
