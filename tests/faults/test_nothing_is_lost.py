"""20,000 updates by 8 writers to 200 clients on three transports, while Daphne, RabbitMQ and PostgreSQL are
each killed and restarted once.

Nothing is lost or duplicated, and nothing arrives that was rolled back or that another database's publisher
announced.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from faults.containers import Crowd, Writers
from faults.foreign import Foreign
from faults.outcome import Outcome
from harness.faults import KILL
from harness.stack import Stack

UPDATES, CLIENTS, PEOPLE = 20_000, 200, 40
PAUSE = 0.05  # seconds between two transactions of a writer: about 150 updates a second of all 8
POLL = 5.0  # seconds between two polls of a client
BACK = 60.0  # seconds until a killed service is healthy again
SLOWEST = 300.0  # seconds for a quarter of the updates, on a busy machine


@pytest.mark.timeout(1200, func_only=True)
def test_nothing_is_lost(pair: Stack, outcome: Outcome) -> None:
    outcome.describe(
        "one asgi, rabbitmq and postgres killed in turn, with 20,000 updates to 200 clients",
        "Half of the sockets reconnect to the other Daphne; later, pages and POSTs fail for some seconds.",
    )
    with Crowd(pair, [f"person-{number}" for number in range(PEOPLE)]) as crowd, ExitStack() as others:
        crowd.gather(CLIENTS, poll_every=POLL)
        others.enter_context(Foreign(pair, lambda: dict(crowd.pages[0].positions)))
        writers = Writers(pair, ("wsgi", "celery"), list(crowd.ids.values()))
        writers.start(UPDATES, pause=PAUSE)
        for number, service in enumerate(("asgi", "rabbitmq", "postgres"), start=1):
            writers.wait_for(number * UPDATES // 4, SLOWEST)
            with KILL(pair.service(service), count=1):
                killed = time.monotonic()  # and restarted at once
            pair.service(service).wait_healthy(BACK)
            outcome.measured(f"{service} healthy again", time.monotonic() - killed)
        written = writers.finish(SLOWEST)
        crowd.online()
    report = crowd.verdict(deadline=2 * POLL).check()
    print(f"writers: {written}")
    published = report.counts["updates published"]
    assert report.counts["clients"] == CLIENTS
    assert UPDATES <= written["committed"] <= published <= written["committed"] + written["unknown"]
    assert written["rolled back"] and report.counts["connections by sse"] > CLIENTS // 3
