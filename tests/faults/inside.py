"""Code that runs inside the stack's own containers by `manage.py shell`. Each function prints its result as
JSON on the last line.

The code is sent as text (see `containers.call`), so it imports nothing from the tests.
"""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.test import Client

from sluice_updates import publish
from sluice_updates.streams import ALL, user_stream
from sluice_updates.wakeup import sender

TO_ALL = 20  # every 20th transaction also publishes to all
ROLLED_BACK = 50  # every 50th transaction is rolled back

_clock = threading.Event()  # never set: the pace of transactions, which wait for nothing


def sign_in(*names: str) -> None:
    """Create users without passwords and a session for each. Prints id and cookie by name."""
    people = {}
    for name in names:
        user, _ = get_user_model().objects.get_or_create(username=name)
        client = Client()
        client.force_login(user)
        people[name] = [user.pk, client.cookies[settings.SESSION_COOKIE_NAME].value]
    print(json.dumps({"cookie": settings.SESSION_COOKIE_NAME, "people": people}))


def write(names: list[str], users: list[int], count: int, pause: float) -> None:
    """Commit `count` updates per writer, with `pause` seconds between transactions, whatever happens to the
    database.

    Prints how many updates were certainly committed, and how many possibly.
    """
    tallies = [{"committed": 0, "unknown": 0, "rolled back": 0} for _ in names]
    threads = [
        threading.Thread(target=_write, args=(name, users, count, pause, tally))
        for name, tally in zip(names, tallies, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps({what: sum(tally[what] for tally in tallies) for what in tallies[0]}))


def _write(name: str, users: list[int], count: int, pause: float, tally: dict[str, int]) -> None:
    number = 0
    while tally["committed"] < count:
        number += 1
        payload = {"writer": name, "number": number}
        updates = [(user_stream(users[number % len(users)]), "numbered")]
        updates += [(ALL, "numbered")] * (number % TO_ALL == 0)
        wanted = number % ROLLED_BACK != 0
        try:
            with transaction.atomic():
                for stream, event in updates:
                    publish(stream, event if wanted else "rolled-back", payload)
                transaction.set_rollback(not wanted)
        except (DatabaseError, InterfaceError):  # perhaps committed: only the table can tell
            tally["unknown"] += len(updates) * wanted
            connection.close()
        else:
            tally["committed" if wanted else "rolled back"] += len(updates)
        if number % 500 == 0:
            print(f"{name}: {tally}", flush=True)
        _clock.wait(pause)
    connection.close()


def cost_of_waking(count: int, pause: float) -> None:
    """Measure what wake-ups cost a request, in milliseconds.

    Measures `wake`, the call after a commit, and whole publishing transactions, alternately with and without
    wake-ups. Also prints the sender's counters.
    """
    url, wake = settings.SLUICE_UPDATES_PUBLISHER_URL, sender.wake
    costs: dict[str, list[float]] = {"wake": [], "announced": [], "not announced": []}

    def timed(ids: list[int]) -> None:
        with _timed(costs["wake"]):
            wake(ids)

    sender.wake = timed
    for number in range(2 * count):
        announced = number % 2 == 0
        settings.SLUICE_UPDATES_PUBLISHER_URL = url if announced else ""
        with _timed(costs["announced" if announced else "not announced"]), transaction.atomic():
            publish("measure", "measured", {"text": "x" * 100})
        _clock.wait(pause)
    settings.SLUICE_UPDATES_PUBLISHER_URL = url
    sender.flush()
    print(json.dumps({"costs": costs, "sender": sender.status()}))


@contextmanager
def _timed(costs: list[float]) -> Any:
    began = time.perf_counter()
    yield
    costs.append((time.perf_counter() - began) * 1000)


def commits_per_second(writers: int, seconds: float) -> None:
    """Measure the commits per second of `writers` processes on one stream, each at full speed."""
    connection.close()
    forks = multiprocessing.get_context("fork")
    counts: Any = forks.Queue()
    at_once = forks.Barrier(writers, timeout=30)
    processes = [forks.Process(target=_commit, args=(at_once, seconds, counts)) for _ in range(writers)]
    for process in processes:
        process.start()
    total = sum(counts.get() for _ in processes)
    for process in processes:
        process.join()
    print(json.dumps({"rate": total / seconds}))


def _commit(at_once: Any, seconds: float, counts: Any) -> None:
    count = 0
    connection.ensure_connection()
    at_once.wait()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        publish("measure", "measured", {"text": "x" * 100})
        count += 1
    counts.put(count)
