"""The Celery application of a project in this stack: Celery's own class with the stack's defaults.

`sluice_stack.celery.configuration` has the defaults. The project's settings `CELERY_…` override them. Two
things differ from Celery: how a task is published (publishing.py) and where a delayed task waits (delays.py).
Neither the import nor the start of a process waits for the broker.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Any

import celery

from . import configuration, delays, metrics  # noqa: F401  (metrics connects its signals)
from .ping import ping  # noqa: F401  (registers the stack's own task)
from .publishing import Publisher


class Celery(celery.Celery):
    """`app = Celery("mysite")`, in place of Celery's class of the same name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_defaults(configuration.defaults)

    def producer_or_acquire(self, producer: Any = None) -> Any:
        """The producer of each published task, in place of one from Celery's pool of connections."""
        return self._publisher.or_given(producer)

    def send_task(
        self,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: datetime | str | None = None,
        **options: Any,
    ) -> Any:
        """Publish a task. One with a countdown or an ETA, such as a retry, waits in the broker until then."""
        delays.redirect(options, delays.seconds_until(countdown, eta, self.now()))
        return super().send_task(name, args, kwargs, **options)

    @cached_property
    def Beat(self) -> Any:
        """The stack's beat, which ignores the scheduler on the command line."""
        return self.subclass_with_self("sluice_stack.celery.beat:Beat")

    @cached_property
    def _publisher(self) -> Publisher:
        return Publisher(self)
