"""Measures the cost of publishing, and the throughput of one stream, for the README. Run it by hand:

    PYTHONPATH=tests:packages/sluice-updates/tests DJANGO_SETTINGS_MODULE=hubsite.settings DATABASE_URL=…
    python packages/sluice-updates/tests/measure_publishing.py

It needs a migrated PostgreSQL of its own, with fsync as in production, and an installed RabbitMQ, which it
starts, stops, pauses and puts into alarm. It publishes to the stream `measure`.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable

import django

django.setup()

from django.conf import settings  # noqa: E402
from django.db import connection, transaction  # noqa: E402

from harness.servers import RabbitMQ  # noqa: E402
from sluice_updates import publish  # noqa: E402
from sluice_updates.wakeup import sender  # noqa: E402

SECONDS = 10
WRITERS = 8
REQUESTS = 1000
PACE_SECONDS = 0.01  # between two requests


def write(start: float, work_seconds: float, counts: multiprocessing.Queue) -> None:
    count = 0
    connection.ensure_connection()
    time.sleep(start - time.time())
    while time.time() < start + SECONDS:
        with transaction.atomic():
            publish("measure", "e", {"text": "x" * 100})
            time.sleep(work_seconds)
        count += 1
    counts.put(count)


def commits_per_second(writers: int, work_seconds: float) -> float:
    counts: multiprocessing.Queue = multiprocessing.Queue()
    start = time.time() + 2
    processes = [
        multiprocessing.Process(target=write, args=(start, work_seconds, counts)) for _ in range(writers)
    ]
    for process in processes:
        process.start()
    total = sum(counts.get() for _ in processes)
    for process in processes:
        process.join()
    return total / SECONDS


def costs_of_a_request() -> tuple[list[float], list[float]]:
    """Sorted milliseconds: of the call, and of the work after the commit."""
    calls, wakes = [], []
    wake = sender.wake

    def timed_wake(ids: list[int]) -> None:
        began = time.perf_counter()
        wake(ids)
        wakes.append((time.perf_counter() - began) * 1000)

    sender.wake = timed_wake
    start = time.perf_counter()
    for number in range(REQUESTS):
        time.sleep(max(0.0, start + number * PACE_SECONDS - time.perf_counter()))
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            began = time.perf_counter()
            publish("measure", "e", {"text": "x" * 100})
            calls.append((time.perf_counter() - began) * 1000)
    sender.wake = wake
    return sorted(calls), sorted(wakes)


def report(state: str) -> None:
    for what, costs in zip(("publish()", "waking"), costs_of_a_request(), strict=True):
        if costs:
            p50, p99, worst = (costs[int(len(costs) * share) - 1] for share in (0.5, 0.99, 1))
            print(f"broker {state}: {what}: p50 {p50:.3f} ms, p99 {p99:.3f} ms, worst {worst:.3f} ms")


if __name__ == "__main__":
    connection.close()
    for writers, work in ((1, 0.0), (WRITERS, 0.0), (WRITERS, 0.005)):
        rate = commits_per_second(writers, work)
        print(
            f"one stream, {writers} writers, {work * 1000:g} ms of work after publish: {rate:.0f} commits/s"
        )
    rabbitmq = RabbitMQ().start()
    troubles: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        ("up", lambda: None, lambda: None),
        ("stopped", rabbitmq.stop, rabbitmq.start),
        ("paused", rabbitmq.pause, rabbitmq.resume),
        (
            "in alarm",
            lambda: rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1MB"),
            lambda: rabbitmq.ctl("set_vm_memory_high_watermark", "0.4"),
        ),
    ]
    for state, begin, end in troubles:
        settings.SLUICE_UPDATES_PUBLISHER_URL = ""
        report("not configured")
        settings.SLUICE_UPDATES_PUBLISHER_URL = rabbitmq.url
        begin()
        report(state)
        end()
    rabbitmq.close()
