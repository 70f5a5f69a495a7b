"""The project's Celery application, with the task that ends with a push."""

from __future__ import annotations

import logging

from celery import Celery

app = Celery("catmaid_lab")
app.config_from_object("django.conf:settings", namespace="CELERY")
logger = logging.getLogger(__name__)


@app.task(name="crop")
def crop(number: int) -> None:
    from catmaid import consumers  # type: ignore[import-not-found]

    try:
        consumers.push(7, "new-message", {"message_id": number})
    except Exception:  # as CATMAID does: a failed push fails no task
        logger.exception("push %d failed", number)
    logger.warning("crop %d is done", number)
