"""How long each program waits for PostgreSQL."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest


@pytest.mark.parametrize(
    ("code", "seconds"),
    [
        ("import mysite.wsgi", 10),
        ("import mysite.asgi", 10),
        ("from celery import signals; import mysite.celery; signals.worker_init.send(None)", 20),
        ("import mysite.celery", None),  # beat
    ],
    ids=["gunicorn", "daphne and runworker", "celery", "beat"],
)
def test_each_programs_time_limit(
    elsewhere: Callable[[str], subprocess.Popen[bytes]], db: None, code: str, seconds: float | None
) -> None:
    process = elsewhere(
        f"{code}; from sluice_stack import postgresql; assert postgresql.seconds == {seconds}"
    )
    assert process.wait(60) == 0
