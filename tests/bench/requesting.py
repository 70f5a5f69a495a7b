"""Requests to Gunicorn at a steady rate, beside whatever else the site does."""

from __future__ import annotations

import http.client
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from harness.figures import quantile

from .deployed import Deployed

RATE: Final = 20.0  # requests a second
REQUESTS: Final = 160  # in one measurement: eight seconds of them
_WARM_UP: Final = 10


class Refused(Exception):
    """This measurement does not count."""


class Requests:
    """GET requests at a steady rate, whatever the last one took, until the end of the block; through nginx,
    as one person who is signed in.
    """

    def __init__(self, stack: Deployed, path: str = "/messages/") -> None:
        self.place = stack.place("nginx")
        (person,) = stack.people(1)
        self.path = path
        self.headers = {"Host": self.place.host, "Cookie": person.cookie, "Accept": "text/html"}
        self.taken: list[float] = []  # milliseconds
        self.failed = 0
        self._over = threading.Event()
        self._local = threading.local()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Requests:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    @property
    def count(self) -> int:
        """How many requests have ended, successful or not."""
        return len(self.taken) + self.failed

    def figures(self) -> dict[str, float]:
        """The quantiles of the times, without the first ones."""
        taken = self.taken[_WARM_UP:]
        if not taken:
            raise Refused("no request was answered")
        return {
            "p50_ms": quantile(taken, 0.5),
            "p99_ms": quantile(taken, 0.99),
            "failed": float(self.failed),
        }

    def _run(self) -> None:
        due = time.monotonic()
        with ThreadPoolExecutor(16) as pool:
            while not self._over.wait(max(0.0, due - time.monotonic())):
                pool.submit(self._get, due)
                due += 1 / RATE

    def _get(self, due: float) -> None:
        try:
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = http.client.HTTPConnection(self.place.address, self.place.port, timeout=30)
                self._local.connection = connection
            connection.request("GET", self.path, headers=self.headers)
            response = connection.getresponse()
            response.read()
            if response.status == 200:
                self.taken.append(1000 * (time.monotonic() - due))
            else:
                self.failed += 1
        except (OSError, http.client.HTTPException):
            self.failed += 1
            self._local.connection = None
