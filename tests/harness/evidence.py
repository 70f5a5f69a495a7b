"""A failing test's evidence: shortened in its report, complete in the results folder."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .stack import Stack

RESULTS = Path(os.environ.get("SLUICE_RESULTS", "/results"))
_SHOWN = 2000
_ACTIVITY = """
    SELECT usename, application_name, state, wait_event, left(query, 100) FROM pg_stat_activity WHERE usename
    IS NOT NULL
"""


def gather(stack: Stack, since: datetime.datetime) -> Iterator[tuple[str, str]]:
    """Yield pairs of title and text: containers, health, logs since `since`, live nginx configuration,
    broker, database.
    """
    yield "docker compose ps", _guarded(stack.snapshot)
    running = {container.labels.get("com.docker.compose.service", "?") for container in stack.containers()}
    for name in sorted(running):
        yield f"{name}: health", _guarded(stack.service(name).health_log)
        yield f"{name}: log", _guarded(partial(stack.service(name).logs, since))
    if "nginx" in running:
        yield "nginx: live configuration", _guarded(lambda: stack.service("nginx").exec("nginx", "-T").output)
    if "rabbitmq" in running:
        for vhost in ("asgi", "celery"):
            for what in ("queues name messages consumers", "bindings"):
                yield f"rabbitmq {vhost}: {what}", _guarded(partial(_broker, stack, vhost, what))
    if "postgres" in running:
        yield "postgres: activity", _guarded(lambda: "\n".join(map(str, stack.psql(_ACTIVITY))))


def as_text(stack: Stack, since: datetime.datetime) -> str:
    """The evidence for the report, each piece shortened to its end."""
    pieces = ((title, text) for title, text in gather(stack, since) if worth_showing(title) and text.strip())
    return "\n".join(f"--- {title}\n{shorten(text)}" for title, text in pieces)


def worth_showing(title: str) -> bool:
    """Whether a piece belongs in the report as well as in the results folder."""
    return title.endswith((": log", " ps"))


def shorten(text: str) -> str:
    """The end of a long text."""
    return (
        text
        if len(text) <= _SHOWN
        else f"… ({len(text) - _SHOWN} characters more in {RESULTS})\n{text[-_SHOWN:]}"
    )


def write(test: str, stack: Stack, title: str, text: str) -> None:
    """Write one complete piece to results/<test>/<stack>/<title>.txt."""
    place = folder(test, stack)
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{_file_name(title)}.txt").write_text(text)


def folder(test: str, stack: Stack) -> Path:
    """The folder for that test's evidence."""
    return RESULTS / _file_name(test) / stack.name


def _file_name(title: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", title).strip("-")[-120:]


def _broker(stack: Stack, vhost: str, what: str) -> str:
    return stack.rabbitmqctl("--quiet", "--vhost", vhost, *f"list_{what}".split()).output


def _guarded(read: Callable[[], str]) -> str:
    try:
        return read()
    except Exception as error:  # a failure to collect evidence must never hide the test's failure
        return f"(could not be read: {error!r})"
