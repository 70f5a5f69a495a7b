"""What the site does beside push: requests to Gunicorn, messages from one person to another, commits."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from harness.figures import quantile

from .client import LoadClient
from .deployed import Deployed, wait_live
from .visits import Refused

RATE: Final = 20.0  # requests a second
_WARM_UP: Final = 10

_COMMITS: Final = """
import json, threading, time
from django.db import connection, transaction
from sluice_updates import publish
def work(number):
    count = 0
    while time.monotonic() < until:
        with transaction.atomic():
            for _ in range(BATCH):
                publish(f"user:bench-{(number + THREADS * count) % STREAMS}", "bench", {"pad": "x" * 200})
        count += 1
    connection.close()
    counts.append(count)
counts = []
begun = time.monotonic()
until = begun + SECONDS
threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print("commits", json.dumps(sum(counts) / (time.monotonic() - begun)))
"""


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


def message_to_browser(stack: Deployed, count: int = 200) -> dict[str, float]:
    """POST a message, `count` times at a steady rate; until it is in the other person's socket. All through
    nginx.
    """
    sender, receiver = stack.people(2)
    place = stack.place("nginx")
    name = "bench-1"
    with LoadClient(place, [receiver]) as client, ThreadPoolExecutor(16) as pool:
        client.ask("start 1")
        wait_live(client, 30)
        token = secrets.token_hex(16)  # Django compares cookie and header; the value is the client's
        headers = {
            "Host": place.host,
            "Origin": place.origin,
            "Cookie": f"{sender.cookie}; csrftoken={token}",
            "X-CSRFToken": token,
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        local = threading.local()

        refused = threading.Event()

        def post(due: float) -> None:
            connection = getattr(local, "connection", None)
            if connection is None:
                connection = http.client.HTTPConnection(place.address, place.port, timeout=30)
                local.connection = connection
            title = f"#0:{int(1e6 * due)}#"
            body = json.dumps({"to": name, "title": title, "text": "…"})
            connection.request("POST", "/messages/", body.encode(), headers)
            response = connection.getresponse()
            text = response.read()
            if response.status != 201:
                refused.set()
                raise Refused(f"POST /messages/: {response.status} {text[:200]!r}")

        def send(times: int) -> None:
            begin = time.monotonic() + 0.1
            posts = []
            for number in range(times):
                due = begin + number / RATE
                if refused.wait(max(0.0, due - time.monotonic())):
                    break
                posts.append(pool.submit(post, due))
            for one in posts:
                one.result(30)
            client.ask(f"await {times} 30000")

        send(_WARM_UP)
        client.ask("report")
        send(count)
        report = client.ask("report")
    if report["delivered"] != count:
        raise Refused(f"{report['delivered']} of {count} messages arrived")
    return {"p50_ms": report["delay"]["p50"], "p99_ms": report["delay"]["p99"]}


def publish_to_browser(stack: Deployed, count: int = 200) -> dict[str, float]:
    """Publish `count` times at a steady rate, a transaction each, until it is in a browser's socket; directly
    to Daphne. The time begins before the INSERT.
    """
    (person,) = stack.people(1)
    publisher = stack.publisher()
    with contextlib.closing(publisher), LoadClient(stack.place("asgi"), [person]) as client:
        client.ask("start 1")
        wait_live(client, 30)
        clock = threading.Event()  # never set

        def send(times: int, first: int) -> None:
            begin = time.monotonic() + 0.1
            for number in range(times):
                clock.wait(max(0.0, begin + number / RATE - time.monotonic()))
                publisher.publish(["all"], number=first + number)
            client.ask(f"await {times} 30000")

        send(_WARM_UP, 1)
        client.ask("report")
        send(count, 1 + _WARM_UP)
        report = client.ask("report")
    if report["delivered"] != count or report["missed"] or report["doubled"]:
        raise Refused(f"{report['delivered']} of {count} updates arrived, {report['doubled']} twice")
    return {"p50_ms": report["delay"]["p50"], "p99_ms": report["delay"]["p99"]}


def commits(stack: Deployed, *, threads: int, streams: int, batch: int = 1, seconds: float = 4.0) -> float:
    """Transactions a second that publish `batch` updates each, from a process of Gunicorn's container."""
    constants = f"THREADS, STREAMS, BATCH, SECONDS = {threads}, {streams}, {batch}, {seconds}\n"
    found = re.search(r"^commits (.+)$", stack.shell(constants + _COMMITS), re.MULTILINE)
    assert found
    return float(found[1])
