"""`GET /healthz`: this process responds. `GET /readyz`: it can serve pages, with the state of each part.

Without the database the state is "unavailable". Without a broker it is "degraded", since every page works.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from django.conf import settings
from django.db import connection
from django.http import HttpResponse, JsonResponse

from sluice_stack.broker_password import broker_password
from sluice_stack.settings.source import installed
from sluice_updates import conf
from sluice_updates.broker.address import Address
from sluice_updates.wakeup import sender

logger = logging.getLogger(__name__)

# The limit for each probe. All run at the same time, so a response takes less than 2 s.
PATIENCE_SECONDS: Final = 1.5


def alive() -> HttpResponse:
    """200. Uses neither the database nor a broker."""
    return HttpResponse("ok\n", content_type="text/plain", headers={"Cache-Control": "no-store"})


def ready() -> JsonResponse:
    """200 `ok` or `degraded`, 503 `unavailable`, with the state of each part."""
    parts = _ask(_probes())
    state = _overall(parts)
    response = JsonResponse(
        {"status": state, **parts, "sender": sender.status()}, status=503 if state == "unavailable" else 200
    )
    response["Cache-Control"] = "no-store"
    if state == "unavailable":
        response["Retry-After"] = "5"
    return response


VIEWS: Final[Mapping[str, Callable[[], HttpResponse]]] = {"/healthz": alive, "/readyz": ready}


class Probe:
    """Probes one part of the system in its own thread, so that a part that hangs delays no request.

    At most one thread per part runs at a time.
    """

    def __init__(self, name: str, ask: Callable[[], None]) -> None:
        self.name = name
        self._ask = ask
        self._lock = threading.Lock()
        self._running: _Run | None = None

    def start(self) -> _Run:
        """Start a run, or return the one that is still going."""
        with self._lock:
            if self._running is None or self._running.ended.is_set():
                self._running = _Run(self.name, self._ask)
                threading.Thread(target=self._running, name=f"probe {self.name}", daemon=True).start()
            return self._running


class _Run:
    def __init__(self, name: str, ask: Callable[[], None]) -> None:
        self._name = name
        self._ask = ask
        self.began = time.monotonic()
        self.ended = threading.Event()
        self.state: dict[str, Any] = {}

    def __call__(self) -> None:
        try:
            self._ask()
            milliseconds = (time.monotonic() - self.began) * 1000
            self.state = {"status": "up", "milliseconds": round(milliseconds, 1)}
        except Exception as error:
            # Details, such as names and addresses, are for the log only.
            said = "; ".join(getattr(error, "__notes__", ())) or str(error)
            logger.warning("readyz: the %s is down: %s", self._name, " ".join(said.split()))
            self.state = {"status": "down", "detail": type(error).__name__}
        self.ended.set()

    def result(self, deadline: float) -> dict[str, Any]:
        if self.ended.wait(max(0.0, deadline - time.monotonic())):
            return self.state
        seconds = time.monotonic() - self.began
        return {"status": "down", "detail": f"no answer for {seconds:.1f} s"}


def _ask(probes: Iterable[Probe]) -> dict[str, dict[str, Any]]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    runs = {probe.name: probe.start() for probe in probes}
    states = {name: run.result(deadline) for name, run in runs.items()}
    return {name: states.get(name, {"status": "off"}) for name in ("database", "publisher", "tasks")}


def _overall(parts: Mapping[str, Mapping[str, Any]]) -> str:
    if parts["database"]["status"] != "up":
        return "unavailable"
    return "degraded" if any(part["status"] == "down" for part in parts.values()) else "ok"


def _ask_database() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        connection.close()  # this thread's


def _ask_broker(url: str, password: Callable[[], str | None]) -> None:
    address = Address.parse(url)
    connection = address.connection(PATIENCE_SECONDS, password=password())
    try:
        connection.connect()
        connection.close()
    except OSError as error:
        # For the log; the response has the error's class only.
        error.add_note(f"{address.place}: {address.explain(error)}")
        raise
    finally:
        connection.collect()


@functools.cache
def _probes() -> list[Probe]:
    probes = [Probe("database", _ask_database)]
    if installed("amqp"):
        brokers = {
            "publisher": (settings.SLUICE_UPDATES_PUBLISHER_URL, conf.publisher_password),
            "tasks": (settings.CELERY_BROKER_URL, broker_password),
        }
        probes += [
            Probe(name, functools.partial(_ask_broker, url, password))
            for name, (url, password) in brokers.items()
            if url
        ]
    return probes
