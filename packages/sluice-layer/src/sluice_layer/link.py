"""A supervised connection: when it ends for any reason, a new one replaces it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .errors import LayerRefused, explain, is_expected, is_refusal, needs_somebody
from .waiting import within
from .wire import Address, Connection

logger = logging.getLogger(__name__)

FIRST_DELAY = 0.25  # seconds; the delay before the first retry is random, at most this
STABLE_AFTER = 10.0  # seconds; after a connection that lasted this long, delays start at FIRST_DELAY again
REMIND_EVERY = 60.0  # seconds between log lines while an outage lasts
POLITE_CLOSE = 1.0  # seconds for an orderly close
PROBE = 3.0  # seconds for the test on a new connection


@dataclass(frozen=True)
class LinkSettings:
    """How to connect. Times are in seconds."""

    address: Callable[[], Address]  # called at each attempt, so that a rotated password is used
    ssl_context: ssl.SSLContext | None
    heartbeat: int
    connect_timeout: float
    longest_delay: float


async def takes_messages(settings: LinkSettings) -> bool:
    """Whether RabbitMQ accepts a message on a new connection within PROBE seconds."""
    connection: Connection | None = None

    async def try_it() -> None:
        nonlocal connection
        connection = Connection(
            settings.address(), ssl_context=settings.ssl_context, heartbeat=settings.heartbeat
        )
        await connection.connect()
        nobody = f"nobody.{random.getrandbits(64):x}"
        await connection.publish_confirmed(b"", exchange_name="", routing_key=nobody, durable=False)

    try:
        await within(PROBE, try_it(), lambda: f"no answer within {PROBE:g} s")
    except Exception as error:
        logger.debug("A new connection failed: %s", explain(error))
        return False
    finally:
        if connection is not None:
            connection.abort()
    return True


class Link:
    """Keeps one connection open from `start` to `close`.

    `prepare(connection)` declares queues and exchanges before anything else uses the connection.
    `serve(connection)` returns or raises when the connection is unusable. The link then closes the
    connection.
    """

    def __init__(
        self,
        purpose: str,
        settings: LinkSettings,
        *,
        prepare: Callable[[Connection], Awaitable[None]],
        serve: Callable[[Connection], Awaitable[None]],
    ) -> None:
        self._purpose = purpose
        self._settings = settings
        self._prepare = prepare
        self._serve = serve
        self._where = "RabbitMQ"
        self._current: Connection | None = None
        self._news = asyncio.Event()  # set when there is a connection, or a new reason why there is none
        self._supervisor: asyncio.Task[None] | None = None
        self._trouble: str | None = None  # why there is no connection
        self.refused = False  # whether RabbitMQ rejected us
        self.connects = 0  # connections made so far

    @property
    def started(self) -> bool:
        return self._supervisor is not None

    @property
    def up(self) -> bool:
        return self._current is not None and not self._current.lost

    @property
    def trouble(self) -> str | None:
        """Why there is no connection, or why RabbitMQ accepts nothing, as a sentence; None if it works."""
        if self._current is not None and not self._current.lost:
            blocked = self._current.blocked
            return (
                f"{self._where} is in alarm and takes no messages ({blocked})"
                if blocked is not None
                else None
            )
        return f"{self._where}: {self._trouble or 'not connected yet'}"

    def start(self) -> None:
        """Start connecting, unless it is started already."""
        if self._supervisor is None:
            self._supervisor = asyncio.get_running_loop().create_task(self._supervise())

    async def connection(self) -> Connection:
        """The connection. Waits without limit until there is one. Raises LayerRefused if RabbitMQ refuses us.

        It raises only after a new attempt was refused, so a caller that retries at once doesn't spin.
        """
        self.start()
        while True:
            current = self._current
            if current is not None and not current.lost:
                return current
            self._news.clear()
            await self._news.wait()
            if self.refused:
                raise LayerRefused(self.trouble)

    def suspect(self, since: float) -> None:
        """Drop the connection if nothing arrived since `since` (loop time): it is dead or RabbitMQ hangs.

        While RabbitMQ blocks the connection, silence is normal, and the connection is kept.
        """
        current = self._current
        if current is not None and current.blocked is None and current.last_heard < since:
            current.abort(TimeoutError("it does not respond"))

    async def close(self) -> None:
        """End the connection and the supervision."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait({self._supervisor})

    async def _supervise(self) -> None:
        """Keep a connection open until cancelled. No exception of a connection may end this task."""
        loop = asyncio.get_running_loop()
        delay = FIRST_DELAY
        down_since: float | None = None
        reminded_at, said = 0.0, ""
        while True:
            connection: Connection | None = None
            up_at: float | None = None
            try:
                connection = await self._connect()
                up_at = loop.time()
                if down_since is not None:
                    logger.info(
                        "%s, %s: connected after %.1f s", self._where, self._purpose, up_at - down_since
                    )
                    down_since = None
                self._current, self._trouble, self.refused = connection, None, False
                self.connects += 1
                self._news.set()
                await self._serve(connection)
                raise ConnectionError("closed")
            except Exception as error:
                now = loop.time()
                self._trouble, self.refused = explain(error), is_refusal(error)
                self._news.set()
                if down_since is None:
                    down_since, reminded_at, said = now, now, self._trouble
                    self._log(error, "trying until it is back")
                elif now - reminded_at >= REMIND_EVERY or (needs_somebody(error) and self._trouble != said):
                    reminded_at, said = now, self._trouble
                    self._log(error, f"still, after {now - down_since:.0f} s")
            except asyncio.CancelledError:
                if connection is not None:
                    self._current = None
                    with contextlib.suppress(Exception):
                        await connection.leave(POLITE_CLOSE)
                raise
            finally:
                self._current = None
                if connection is not None:
                    connection.abort()
            if up_at is not None and loop.time() - up_at >= STABLE_AFTER:
                delay = FIRST_DELAY
            await asyncio.sleep(random.uniform(0, delay))
            delay = min(delay * 2, self._settings.longest_delay)

    async def _connect(self) -> Connection:
        settings = self._settings
        address = settings.address()
        self._where = str(address)
        connection = Connection(address, ssl_context=settings.ssl_context, heartbeat=settings.heartbeat)
        try:
            await within(
                settings.connect_timeout,
                connection.connect(),
                lambda: f"no answer within {settings.connect_timeout:g} s",
            )
            await self._prepare(connection)
        except BaseException:
            connection.abort()
            raise
        return connection

    def _log(self, error: Exception, outlook: str) -> None:
        # Only an unexpected error needs its traceback.
        unexpected = None if is_expected(error) else error
        level = logging.ERROR if unexpected or self.refused else logging.WARNING
        logger.log(
            level, "%s, %s: %s; %s", self._where, self._purpose, self._trouble, outlook, exc_info=unexpected
        )
