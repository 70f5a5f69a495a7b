"""A connection to RabbitMQ that publishes and does nothing else, every step of it bounded in time.

It uses py-amqp, kombu's own transport, below kombu's retries: with the broker's name gone, a kombu connection
blocks for 8 to 18 s whatever its time-outs (measured), because they bound neither the resolver nor the number
of tries. Needs the extra `rabbitmq`; only the sender's thread imports it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import amqp

from .address import Address

# Of each wait: for the resolver, for TCP, for TLS, for a frame of the handshake, for room in the socket, for
# a confirm.
STEP_SECONDS: Final = 1.0
# Of connecting altogether, however many addresses the name has.
CONNECT_SECONDS: Final = 3.0
# Offered to RabbitMQ, which takes the smaller of this and its own. tick() must be called three times as
# often.
HEARTBEAT_SECONDS: Final = 20


class BrokerDown(Exception):
    """The broker did not accept the message. The text gives the reason; the connection is closed."""


class Broker:
    """A lazy connection to `amqp://user:password@host:port/vhost`, or `amqps://` for TLS.

    Not thread-safe.

    `password` is called at each connect: its result replaces the URL's password, unless it is None. If it
    raises, the broker counts as down.
    """

    def __init__(self, url: str, password: Callable[[], str | None] = lambda: None) -> None:
        try:
            self.address = Address.parse(url)
        except ValueError as error:
            raise ValueError(f"the broker's URL {error}") from None
        self._password = password
        self._resolver = _Resolver()
        self._connection: Any = None
        self._channel: Any = None
        self._pid = 0

    def publish(self, exchange: str, routing_key: str, body: bytes, properties: Mapping[str, Any]) -> bool:
        """Publish and wait for the broker's confirm. Returns whether every bound queue accepted the message.

        False if the exchange does not exist (no channel layer listens), or if a queue was full and rejected
        the message. Raises BrokerDown. If the connection was open before, there is a second try: it may have
        been cut while idle.
        """
        self._forget_the_parents()
        for is_last in (self._connection is None, True):
            try:
                return self._publish(exchange, routing_key, body, properties)
            except Exception as error:  # py-amqp raises any error that a broken socket leads to
                self.close()
                if is_last or isinstance(error, TimeoutError | amqp.AccessRefused):
                    raise self._down(error) from error
        raise AssertionError("the second try is the last")

    def connect(self) -> None:
        """Connect, unless connected already: so that the next message is fast. Raises BrokerDown."""
        self._forget_the_parents()
        if self._connection is None:
            try:
                self._connection = self._connect()
            except Exception as error:
                raise self._down(error) from error

    def tick(self) -> None:
        """Send a heartbeat if one is due and notice a connection that has ended. Cheap; never raises."""
        self._forget_the_parents()
        if self._connection is None:
            return
        try:
            with contextlib.suppress(TimeoutError):  # nothing came
                self._connection.drain_events(timeout=0)
            self._connection.heartbeat_tick(rate=2)
        except Exception:
            self.close()

    def close(self) -> None:
        """Drop the connection without AMQP's close, which would wait for a broker that may be stalled."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it is gone already
                connection.sock.settimeout(0)  # TLS sends its own close, and does not wait for the reply
            with contextlib.suppress(Exception):
                connection.collect()

    def _down(self, error: Exception) -> BrokerDown:
        return BrokerDown(f"{self.address.place}: {self.address.explain(error)}")

    def _publish(self, exchange: str, routing_key: str, body: bytes, properties: Mapping[str, Any]) -> bool:
        if self._connection is None:
            self._connection = self._connect()
        if self._channel is None:
            self._channel = self._connection.channel()
        try:
            self._channel.basic_publish_confirm(
                amqp.Message(body, **properties), exchange, routing_key, confirm_timeout=STEP_SECONDS
            )
        except amqp.NotFound:  # closes the channel, not the connection
            self._channel = None
            return False
        except amqp.exceptions.MessageNacked:
            return False
        return True

    def _connect(self) -> Any:
        deadline = time.monotonic() + CONNECT_SECONDS
        password = self._password()
        failure: Exception = TimeoutError("no address answered")
        for found in self._resolver.resolve(self.address.host, self.address.port, STEP_SECONDS):
            if time.monotonic() > deadline:
                break
            connection = self.address.connection(
                STEP_SECONDS,
                password=password,
                at=found,
                heartbeat=HEARTBEAT_SECONDS,
                client_properties={
                    "connection_name": f"updates publisher {socket.gethostname()} {os.getpid()}"
                },
            )
            try:
                connection.connect()
            except OSError as error:
                connection.collect()
                failure = error
                continue
            except amqp.AMQPError:
                connection.collect()
                raise
            # Bounds every read and write from here on, also those that py-amqp does not bound.
            connection.sock.settimeout(STEP_SECONDS)
            self._pid = os.getpid()
            return connection
        raise failure

    def _forget_the_parents(self) -> None:
        """After a fork, close our copy of the parent's socket without shutting its connection down."""
        if self._connection is not None and self._pid != os.getpid():
            self._connection.sock.close()
            self._connection = self._channel = None
            self._resolver = _Resolver()


class _Resolver:
    """getaddrinfo with a time-out, in a thread, since it has none. At most one thread is left behind."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def resolve(self, host: str, port: int, timeout: float) -> list[str]:
        """The addresses of the host. Raises OSError, TimeoutError among them."""
        if self._thread is not None and self._thread.is_alive():
            raise TimeoutError(f"the resolver still has no answer for {host}")
        answers: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

        def look_up() -> None:
            try:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                answers.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
            except OSError as error:
                answers.put(error)

        self._thread = threading.Thread(target=look_up, name="updates resolver", daemon=True)
        self._thread.start()
        try:
            answer = answers.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"the resolver has no answer for {host} within {timeout:g} s") from None
        if isinstance(answer, OSError):
            raise answer
        return answer
