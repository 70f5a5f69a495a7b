"""Another database's publisher on the stack's broker, such as a test run or a copy of the site."""

from __future__ import annotations

import itertools
import json
import secrets
import threading
import uuid
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import amqp
import msgpack
import psycopg

from faults.broker import EXCHANGE, FOREIGN, GROUP, VHOST
from faults.daphne import health
from harness.client.positions import Position
from harness.stack import Stack
from harness.waiting import wait_until

EVENT = FOREIGN.decode()  # no page may receive it
EVERY = 0.2  # seconds between two wake-ups
HEARD = 30.0  # seconds within which each Daphne has dropped one


class Foreign:
    """Sends wake-ups throughout a test, to the streams and offsets that real clients have.

    `positions` returns these. Each wake-up has, for each stream, an update with the offset that the client
    has, as if the past had changed, and the next one. Every second wake-up names no database, like an earlier
    version's.
    """

    counter = "foreign_wake_ups"  # in each Daphne's report, once it has received one

    def __init__(self, stack: Stack, positions: Callable[[], Mapping[str, Position]]) -> None:
        self.stack = stack
        self.sent = 0
        self._positions = positions
        self._database = str(uuid.uuid4())
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="foreign publisher", daemon=True)

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    def stop(self) -> None:
        """Stop sending, and close the connection to the broker."""
        self._stop.set()
        if self._thread.ident is None:
            return
        self._thread.join(30)
        assert not self._thread.is_alive(), "the foreign publisher has not ended within 30 s"

    def __enter__(self) -> Foreign:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.was_heard()
        finally:
            self.stop()

    def was_heard(self) -> None:
        """Assert that every Daphne that runs now has received and dropped its wake-ups."""
        wait_until(self._is_heard, HEARD, "a foreign wake-up at each Daphne", every=0.5)

    def _is_heard(self) -> bool:
        try:
            reports = [health(replica) for replica in self.stack.service("asgi")]
        except AssertionError:  # one of them is still starting
            return False
        return all(report["counters"].get(self.counter) for report in reports)

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            try:
                self._send()
            except Exception:  # the broker is away, or its container is: that is the test's business
                self._stop.wait(EVERY)

    def _send(self) -> None:
        """Send until the broker fails."""
        address = self.stack.service("rabbitmq")[0].addresses["broker"]
        with amqp.Connection(
            f"{address}:5672",
            userid="publisher",
            password=self.stack.secrets()["mq_publisher"],
            virtual_host=VHOST,
            connect_timeout=5,
            read_timeout=5,
            write_timeout=5,
        ) as connection:
            channel = connection.channel()
            while not self._stop.wait(EVERY):
                body = msgpack.packb(self._message(next(self._numbers)))
                channel.basic_publish(amqp.Message(body, expiration="60000"), EXCHANGE, GROUP)
                self.sent += 1

    def _message(self, number: int) -> dict[str, Any]:
        updates = [
            update(stream, offset, number)
            for stream, position in self._positions().items()
            for offset in (position.offset, position.offset + 1)
            if offset
        ]
        message = {
            "type": "updates.committed",
            "updates": updates,
            "published": [0.0] * len(updates),
            "__asgi_group__": GROUP,
        }
        return message if number % 2 else {**message, "database": self._database}


class Forger(Foreign):
    """The same without a broker: a role that may not publish sends notifications with forged updates."""

    counter = "hints"

    def _send(self) -> None:
        """Send until PostgreSQL fails."""
        with psycopg.connect(
            host=self.stack.service("postgres")[0].addresses["data"],
            dbname="sluice",
            user="asgi",
            password=self.stack.secrets()["db_asgi"],
            connect_timeout=5,
            autocommit=True,
        ) as connection:
            while not self._stop.wait(EVERY):
                for forged in self._message(next(self._numbers))["updates"]:
                    payload = f"committed {json.dumps(forged)}"
                    connection.execute("SELECT pg_notify('sluice_updates', %s)", [payload])
                self.sent += 1


def update(stream: str, offset: int, number: int) -> list[Any]:
    """An update as in a wake-up."""
    tag = secrets.token_hex(8)
    frame = {
        "event": EVENT,
        "payload": {"number": number},
        "stream": stream,
        "position": f"{offset}-{tag}",
    }
    return [stream, offset, tag, json.dumps(frame)]
