"""The stack's own periodic jobs. Beat runs them; without beat, each of Gunicorn's workers does.

They may run in several processes at a time.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Mapping
from typing import Any, Final

logger = logging.getLogger(__name__)

# Functions without arguments; intervals in seconds. A project's entry with the same name in
# CELERY_BEAT_SCHEDULE overrides one.
JOBS: Final[Mapping[str, Mapping[str, Any]]] = {
    "trim updates": {"task": "sluice_updates.trimming.trim", "schedule": 3600.0},
    "delete old sessions": {"task": "sluice_stack.session_cleaning.clean_up", "schedule": 3600.0},
}
# Seconds from the start of a process to its first run, at most. Random, so that not all start at once.
_FIRST: Final = 120.0


def start() -> None:
    """Run the jobs in this process from now on, each in a thread of its own."""
    logger.info("there is no beat, so this process does: %s", ", ".join(JOBS))
    for name, job in JOBS.items():
        threading.Thread(target=_repeat, args=(name, job), name=name, daemon=True).start()


def _repeat(name: str, job: Mapping[str, Any]) -> None:
    time.sleep(random.uniform(0, _FIRST))
    while True:
        run(name, job["task"])
        time.sleep(job["schedule"])


def run(name: str, path: str) -> None:
    """Run the function once. An error is logged."""
    from django.db import InterfaceError, OperationalError, connections
    from django.utils.module_loading import import_string

    try:
        import_string(path)()
    except (OperationalError, InterfaceError) as error:  # an outage: needs no traceback
        logger.warning("%s: %s", name, " ".join(str(error).split()))
    except Exception:
        logger.exception("%s failed", name)
    finally:
        connections.close_all()  # this thread's
