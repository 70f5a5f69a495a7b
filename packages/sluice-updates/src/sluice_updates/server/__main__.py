"""Daphne with an orderly end: `python -m sluice_updates.server`; `--help` lists the arguments.

On SIGTERM, stock Daphne drops its sockets without a close frame and runs nobody's disconnect(). Here: it
stops accepting, reports that it is stopping, sends 1012 to its clients, spread over a few seconds so that
they don't all come back at once, lets every application see its disconnect, and exits 0. Everything else is
Daphne's own.

Without arguments it serves the socket that is its standard input, as supervisor's fcgi-program hands it
over (systemd's is --fd 3); failing that, it listens where the setting ASGI_BIND says, by default on
127.0.0.1:8001.

Exit status: 0 after SIGTERM or SIGINT (a second one doesn't wait), 1 if it can't listen, 2 for wrong
arguments, 70 if it found itself broken and has to be started anew.
"""

from __future__ import annotations

from daphne.server import Server  # isort: skip  # before Twisted's reactor: it chooses which one

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from asgiref.compatibility import guarantee_single_callable
from autobahn.websocket.types import ConnectionDeny
from daphne.endpoints import build_endpoint_description_strings
from daphne.utils import import_by_path
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from .. import close_codes, limits
from ..asgi.transport import EXTENSION
from .listening import is_listening, take_over
from .watchdog import EXIT_STATUS as BROKEN
from .watchdog import Watchdog

if TYPE_CHECKING:
    from ..push.hub import Hub

logger = logging.getLogger("sluice_updates.server")
access = logging.getLogger("updates.access")

DEFAULT_BIND: Final = "127.0.0.1:8001"
BACKLOG: Final = 4096  # connections that the kernel holds for us, within net.core.somaxconn
HANDSHAKE_SECONDS: Final = 5
CLOSE_SECONDS: Final = 5  # for the client's answer to a close frame
DRAIN_SECONDS: Final = 8.0  # in which 1012 is spread over all clients, at most
LINGER_SECONDS: Final = 1.0  # after that, for their answers and for the applications to end
STEP_SECONDS: Final = 0.02


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal. Returns the exit status."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until there is something to drain
    sys.path.insert(0, os.getcwd())
    application = guarantee_single_callable(import_by_path(options.application))
    # The application's own settings of logging, if it has some, come first; then this does nothing.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    server = DrainingServer(application, _endpoints(options), drain_seconds=options.drain_seconds)
    server.run()
    for number in (signal.SIGTERM, signal.SIGINT):  # while Python takes itself down, one more would kill it
        signal.signal(number, signal.SIG_IGN)
    return server.exit_status


class DrainingServer(Server):
    """Daphne's server, with limits that fit browsers behind nginx, and a drain."""

    def __init__(
        self, application: Any, endpoints: list[str], *, drain_seconds: float = DRAIN_SECONDS
    ) -> None:
        super().__init__(
            application=application,
            endpoints=endpoints,
            signal_handlers=False,  # ours, see _started()
            action_logger=_log,
            websocket_timeout=-1,
            websocket_connect_timeout=HANDSHAKE_SECONDS,
            websocket_handshake_timeout=HANDSHAKE_SECONDS,
            websocket_max_message_size=limits.MESSAGE_BYTES,
            websocket_max_frame_size=limits.MESSAGE_BYTES,
            ping_interval=limits.PROTOCOL_PING_SECONDS,
            ping_timeout=limits.PONG_SECONDS,
            proxy_forwarded_address_header="X-Real-IP",
            proxy_forwarded_proto_header="X-Forwarded-Proto",
            server_name="",
        )
        self.exit_status = 0
        self._drain_seconds = drain_seconds
        self._hub: Hub | None = None
        self._ports: list[Any] = []
        self._draining: asyncio.Task[None] | None = None
        self._draining_since = 0.0

    def run(self) -> None:
        reactor.callWhenRunning(self._started)
        super().run()
        if self.abort_start:
            self.exit_status = 1

    def drain(self) -> None:
        """Stop accepting, send everybody 1012, then stop. Called again after a second: stop at once."""
        now = time.monotonic()
        if self._draining is None:
            self._draining, self._draining_since = asyncio.ensure_future(self._drain()), now
        elif (
            now - self._draining_since >= 1
        ):  # else it is the same one, by two ways: to the process and to its group
            logger.warning("told to stop again: stopping at once")
            self.stop()

    # What Daphne calls

    def listen_success(self, port: Any) -> None:
        super().listen_success(port)
        self._ports.append(port)
        listener: socket.socket = port.socket
        listener.listen(BACKLOG)  # whoever made the socket: a later call only changes the backlog
        if listener.family != socket.AF_UNIX:
            # Accepted sockets inherit these. The pings of an event stream are never answered: only TCP can
            # tell.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, limits.UNACKNOWLEDGED_SECONDS // 2)
            listener.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limits.UNACKNOWLEDGED_SECONDS * 1000
            )

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        scope["extensions"] = {EXTENSION: protocol}
        if scope["type"] == "websocket":
            scope["extensions"]["websocket.http.response"] = {}
        return super().create_application(protocol, scope)

    def protocol_disconnected(self, protocol: Any) -> None:
        if protocol in self.connections:  # it may have been cleared away, or never have come so far
            super().protocol_disconnected(protocol)

    def kill_all_applications(self) -> Deferred[Any]:
        # Daphne's own fails on a connection that has no application any more, and then cancels none.
        running = self._applications()
        for application in running:
            application.cancel()
        return Deferred.fromFuture(asyncio.gather(*running, return_exceptions=True))

    # Beginning and end

    def _started(self) -> None:
        loop = asyncio.get_event_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.drain)
        self.ws_factory.protocol = ServedWebSocket
        # An orderly close frame says what was wrong with a bad one; by default the connection is just cut.
        # (allowNullOrigin: each call sets it, and ours is to judge all origins alike.)
        self.ws_factory.setProtocolOptions(
            failByDrop=False, closeHandshakeTimeout=CLOSE_SECONDS, allowNullOrigin=True
        )
        loop.call_soon(self._start_hub)
        Watchdog(loop).start()
        logger.info("serving on %s", ", ".join(str(port.getHost()) for port in self._ports))

    def _start_hub(self) -> None:
        from ..push.hub import get_hub

        self._hub = get_hub()
        self._hub.layer.on_broken = self._broken

    def _broken(self) -> None:
        self.exit_status = BROKEN
        if self._draining is None:
            self.drain()

    async def _drain(self) -> None:
        """Close everybody and stop, whatever fails meanwhile: one that stays is killed."""
        try:
            await self._close_all()
        except Exception:
            logger.exception("the drain failed; stopping all the same")
        finally:
            logger.info("stopped after %.1f s", time.monotonic() - self._draining_since)
            self.stop()

    async def _close_all(self) -> None:
        began = self._draining_since
        for port in self._ports:
            port.stopListening()
        ends: list[Callable[[], object]] = []
        if self._hub is not None:
            self._hub.draining = True
            ends = [connection.restart for connection in self._hub.connections]
        logger.info("stopping: %d connections to close", len(ends))
        # As many closes a second as reconnects, which fall on the processes that stay.
        spread = max(limits.CLOSES_SECONDS, len(ends) / limits.RECONNECTS_PER_SECOND)
        seconds = min(self._drain_seconds, spread)
        for number, end in enumerate(ends):
            while time.monotonic() - began < number * seconds / len(ends):
                await asyncio.sleep(STEP_SECONDS)
            try:
                end()
            except Exception:  # of this connection: the others are closed all the same
                logger.exception("a connection could not be told that the server restarts")
        for protocol in self._sockets():  # those that the hub doesn't know, if there are any
            protocol.restart()
        await self._until(lambda: not self._sockets() and not self._applications())
        for protocol in self._sockets():
            protocol.dropConnection(abort=True)
        await self._until(lambda: not self._applications(), LINGER_SECONDS / 2)
        if self._hub is not None:
            await self._hub.stop()

    async def _until(self, is_so: Callable[[], bool], seconds: float = LINGER_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not is_so() and time.monotonic() < deadline:
            await asyncio.sleep(STEP_SECONDS)

    def _sockets(self) -> list[ServedWebSocket]:
        return [
            protocol
            for protocol in self.connections
            if isinstance(protocol, ServedWebSocket) and protocol.state != protocol.STATE_CLOSED
        ]

    def _applications(self) -> list[asyncio.Future[None]]:
        found = [details.get("application_instance") for details in self.connections.values()]
        return [application for application in found if application is not None and not application.done()]


class ServedWebSocket(WebSocketProtocol):
    """Daphne's protocol of one WebSocket, less a few of its faults."""

    _denial: dict[str, Any] | None = None

    def restart(self) -> None:
        """Tell the client that the server restarts, unless it has been told to go before."""
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=close_codes.RESTART)

    def onConnect(self, request: Any) -> Any:
        # Daphne's own answers 500 to it, with a traceback in the log.
        if not request.headers.get("sec-websocket-protocol", "").isascii():
            raise ConnectionDeny(code=400, reason="Bad Request")
        return super().onConnect(request)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if hasattr(self, "server"):  # else the handshake was so bad that it never came to onConnect()
            super().onClose(wasClean, code, reason)

    def _closeConnection(self, abort: bool = False) -> None:
        # Once the client has answered the close frame, autobahn resets the connection, and what was written
        # last with it.
        if abort and self.wasClean:
            super()._closeConnection(abort=False)
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.transport.abortConnection)
        else:
            super()._closeConnection(abort=abort)

    def handle_reply(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.http.response.start":
            self._denial = message
        elif kind == "websocket.http.response.body":
            self._deny()
        else:
            super().handle_reply(message)

    def serverClose(self, code: int | None = None) -> None:
        # Daphne's own refuses codes that an application may well need, such as 1011 to 1013.
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=1000 if code is None else code)

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:
        # An Origin that can't be understood is foreign.
        super().failHandshake(reason, 403 if "Origin" in reason else code, responseHeaders)

    def sendHttpErrorResponse(self, code: int, reason: str, responseHeaders: Any = None) -> None:
        from ..asgi.responses import backend_headers

        headers = [(name.decode(), value.decode()) for name, value in backend_headers()]
        headers += [("Content-Length", "0"), ("Connection", "close"), *(responseHeaders or ())]
        super().sendHttpErrorResponse(code, reason, headers)

    def _accept(self, message: dict[str, Any]) -> None:
        """As Daphne's, but with the application's headers."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in message.get("headers", ())
        }
        handshake = self.__dict__.pop("handshake_deferred", None)
        if handshake is not None:
            handshake.callback((message.get("subprotocol"), headers))

    def _deny(self) -> None:
        """Refuse the upgrade with the application's status, as by the extension websocket.http.response."""
        status = self._denial["status"] if self._denial is not None else 403
        handshake = self.__dict__.pop("handshake_deferred", None)
        if handshake is not None:
            handshake.errback(ConnectionDeny(code=status, reason="Refused"))
            self.server.protocol_disconnected(self)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sluice_updates.server", description="Daphne with an orderly end."
    )
    parser.add_argument("--bind", metavar="ADDRESS", help="listen on this address")
    parser.add_argument("--port", type=int, help="and this port")
    parser.add_argument(
        "--fd", type=int, metavar="NUMBER", help="accept from this socket, which is listening already"
    )
    parser.add_argument(
        "--drain-seconds",
        type=float,
        default=DRAIN_SECONDS,
        metavar="SECONDS",
        help="spread the closes over so long when stopping, at most (default: %(default)g)",
    )
    parser.add_argument(
        "application", nargs="?", default="mysite.asgi:application", help="MODULE:NAME (default: %(default)s)"
    )
    return parser


def _endpoints(options: argparse.Namespace) -> list[str]:
    """Where to listen, in Twisted's words."""
    from django.conf import settings

    number = options.fd
    if number is None and options.bind is None and options.port is None and is_listening(0):
        number = 0
    if number is not None:
        if not is_listening(number):
            sys.exit(
                f"sluice_updates.server: file {number} is not a listening socket; supervisor hands one over"
                " in an [fcgi-program], as long as no [group] names it, and systemd to a unit with Sockets="
            )
        return build_endpoint_description_strings(file_descriptor=take_over(number))
    bind = getattr(settings, "ASGI_BIND", "") or DEFAULT_BIND
    if bind.startswith("unix:") and options.bind is None and options.port is None:
        return build_endpoint_description_strings(unix_socket=bind.removeprefix("unix:"))
    host, _, port = (DEFAULT_BIND if bind.startswith("unix:") else bind).rpartition(":")
    return build_endpoint_description_strings(
        host=options.bind or host, port=options.port if options.port is not None else int(port)
    )


def _log(protocol: str, action: str, details: dict[str, Any]) -> None:
    """One line for what began and what ended; none for health checks that went well."""
    client, path = details.get("client"), details.get("path")
    if action in ("connected", "disconnected", "rejected"):
        access.info("%s websocket %s %s", client, action, path)
    elif action == "complete" and not (path == "/channels/healthz" and details["status"] == 200):
        access.info(
            '%s "%s %s" %s %.3f s', client, details["method"], path, details["status"], details["time_taken"]
        )


if __name__ == "__main__":
    sys.exit(main())
