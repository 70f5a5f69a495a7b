"""What the site does beside push: messages from one person to another, commits."""

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

from .client import LoadClient
from .deployed import Deployed, wait_live
from .requesting import RATE, Refused

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
