"""Daphne's server with a graceful drain, and fixes for its WebSocket protocol."""

from __future__ import annotations

from daphne.server import Server  # isort: skip  # must be before Twisted's reactor: it installs it

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from autobahn.websocket.types import ConnectionDeny
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from .. import close_codes, conf, limits, metrics, monitoring
from ..asgi.draining import DRAIN_SECONDS, end_all
from ..asgi.responses import backend_headers
from ..asgi.transport import EXTENSION, HANDSHAKE
from .admission import Admission
from .front_door import FrontDoors
from .update_socket import UpdateSocket
from .update_stream import UpdateStream
from .watchdog import EXIT_STATUS as BROKEN
from .watchdog import Watchdog

if TYPE_CHECKING:
    from ..push.hub import Hub

logger = logging.getLogger("sluice_updates.server")
access = logging.getLogger("sluice_updates.access")

BACKLOG: Final = 4096  # waiting connections in the kernel, limited by net.core.somaxconn
CLOSE_SECONDS: Final = 5  # for the client's reply to a close frame
LINGER_SECONDS: Final = 1.0  # after that, for the replies and for the applications to end
STEP_SECONDS: Final = 0.02


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
            websocket_connect_timeout=limits.HANDSHAKE_SECONDS,
            websocket_handshake_timeout=limits.HANDSHAKE_SECONDS,
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
        self._doors: FrontDoors | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    def run(self) -> None:
        reactor.callWhenRunning(self._started)
        super().run()
        if self.abort_start:
            self.exit_status = 1

    def drain(self) -> None:
        """Stop accepting, send 1012 to all clients, then stop. A second call, 1 s later, stops at once."""
        now = time.monotonic()
        if self._draining is None:
            self._draining, self._draining_since = asyncio.ensure_future(self._drain()), now
        elif (
            now - self._draining_since >= 1
        ):  # else it is the same signal, sent to the process and to its group
            logger.warning("second signal: stopping at once")
            self.stop()

    # Called by Daphne

    def listen_success(self, port: Any) -> None:
        super().listen_success(port)
        self._ports.append(port)
        listener: socket.socket = port.socket
        listener.listen(BACKLOG)  # for an inherited socket too: this only changes its backlog
        if port.factory is self.http_factory:  # else it is TLS, which has a protocol of its own in front
            port.factory = self._front_doors()
        if listener.family != socket.AF_UNIX:
            # Accepted sockets inherit these. An update is never held back to be sent with the next one.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A client never answers the pings of an event stream, so only TCP
            # detects that it is gone.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, limits.UNACKNOWLEDGED_SECONDS // 2)
            listener.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limits.UNACKNOWLEDGED_SECONDS * 1000
            )

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        scope["extensions"] = {EXTENSION: protocol}
        finish = self._doors.finisher(protocol.transport) if self._doors is not None else None
        if scope["type"] == "websocket":
            scope["extensions"]["websocket.http.response"] = {}
            protocol.extensions = scope["extensions"]
        if finish is not None:
            scope["extensions"][HANDSHAKE] = finish
        queue = super().create_application(protocol, scope)
        application = self.connections.get(protocol, {}).get("application_instance")
        if finish is not None and application is not None:
            application.add_done_callback(lambda _: finish())
        return queue

    def protocol_disconnected(self, protocol: Any) -> None:
        if protocol in self.connections:  # it may be removed already, or never have been added
            super().protocol_disconnected(protocol)

    def kill_all_applications(self) -> Deferred[Any]:
        # Daphne's own fails on a connection whose application has ended, and then cancels none.
        running = self._applications()
        for application in running:
            application.cancel()
        return Deferred.fromFuture(asyncio.gather(*running, return_exceptions=True))

    # Start and stop

    def _started(self) -> None:
        loop = asyncio.get_event_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.drain)
        self.ws_factory.protocol = ServedWebSocket
        # By default a bad frame cuts the connection; failByDrop=False sends a close frame with the reason.
        # allowNullOrigin: each call resets it, and asgi.origin checks all origins.
        self.ws_factory.setProtocolOptions(
            failByDrop=False, closeHandshakeTimeout=CLOSE_SECONDS, allowNullOrigin=True
        )
        loop.call_soon(self._start_hub)
        self._sweep(loop)
        Watchdog(loop).start()
        logger.info("serving on %s", ", ".join(str(port.getHost()) for port in self._ports))

    def _front_doors(self) -> FrontDoors:
        if self._doors is None:
            admission = Admission(time.monotonic)
            metrics.admissions_waiting = lambda: admission.waiting
            self._doors = FrontDoors(
                self.http_factory,
                admission,
                time.monotonic,
                event_path=getattr(self.application, "event_path", "").encode(),
                update_path=getattr(self.application, "update_path", "").encode(),
                open_socket=getattr(self.application, "open_socket", None),
                open_stream=getattr(self.application, "open_stream", None),
                headers=backend_headers,
            )
        return self._doors

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(1, self._sweep, loop)
        if self._doors is not None:
            self._doors.sweep()

    def _start_hub(self) -> None:
        # Both need Django's apps, which the application has set up.
        from django.apps import apps

        if not apps.is_installed("sluice_updates"):  # it only wants the server
            return
        from ..push.hub import get_hub

        self._hub = get_hub()
        self._hub.layer.on_broken = self._broken
        monitoring.start(conf.metrics_bind())

    def _broken(self) -> None:
        self.exit_status = BROKEN
        if self._draining is None:
            self.drain()

    async def _drain(self) -> None:
        """Close all connections and stop, also after a failure: the process would be killed otherwise."""
        try:
            await self._close_all()
        except Exception:
            logger.exception("the drain failed; stopping anyway")
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
            ends = [connection.restart for connection in self._hub.people.connections]
        if self._doors is not None:
            ends += [door.restart for door in self._doors.admission.drain()]
        logger.info("stopping: %d connections to close", len(ends))
        await end_all(ends, began=began, at_most=self._drain_seconds)
        for protocol in self._sockets():  # connections that are not in the hub
            protocol.restart()
        await self._until(lambda: not self._sockets() and not self._applications())
        for protocol in self._sockets():
            protocol.abort()
        await self._until(lambda: not self._applications(), LINGER_SECONDS / 2)
        if self._hub is not None:
            await self._hub.stop()

    async def _until(self, is_so: Callable[[], bool], seconds: float = LINGER_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not is_so() and time.monotonic() < deadline:
            await asyncio.sleep(STEP_SECONDS)

    def _sockets(self) -> list[ServedWebSocket | UpdateSocket | UpdateStream]:
        daphnes = [
            protocol
            for protocol in self.connections
            if isinstance(protocol, ServedWebSocket) and protocol.state != protocol.STATE_CLOSED
        ]
        return [*daphnes, *(self._doors.sockets if self._doors is not None else ())]

    def _applications(self) -> list[asyncio.Future[None]]:
        found = [details.get("application_instance") for details in self.connections.values()]
        return [application for application in found if application is not None and not application.done()]


class ServedWebSocket(WebSocketProtocol):
    """Daphne's protocol of one WebSocket, with fixes."""

    _denial: dict[str, Any] | None = None
    extensions: dict[str, Any] | None = None  # of the scope

    def abort(self) -> None:
        """Cut the connection."""
        self.dropConnection(abort=True)

    def restart(self) -> None:
        """Send 1012, unless a close frame was sent before."""
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=close_codes.RESTART)

    def onConnect(self, request: Any) -> Any:
        # Daphne's own answers 500, with a traceback in the log.
        if not request.headers.get("sec-websocket-protocol", "").isascii():
            raise ConnectionDeny(code=400, reason="Bad Request")
        return super().onConnect(request)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self._finish_handshake()
        if hasattr(self, "server"):  # else the handshake failed before onConnect()
            super().onClose(wasClean, code, reason)

    def _closeConnection(self, abort: bool = False) -> None:
        # After the client's close frame autobahn resets the connection, which loses the last bytes written.
        if abort and self.wasClean:
            super()._closeConnection(abort=False)
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.transport.abortConnection)
        else:
            super()._closeConnection(abort=abort)

    def _finish_handshake(self) -> None:
        # An application that takes the function out of the scope calls it itself, at hello.
        finish = self.extensions.pop(HANDSHAKE, None) if self.extensions is not None else None
        if finish is not None:
            finish()

    def handle_reply(self, message: dict[str, Any]) -> None:
        kind = message.get("type")
        self._finish_handshake()  # any reply accepts or refuses the connection
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.http.response.start":
            self._denial = message
        elif kind == "websocket.http.response.body":
            self._deny()
        else:
            super().handle_reply(message)

    def serverClose(self, code: int | None = None) -> None:
        # Daphne's own refuses codes that an application may need, such as 1011 to 1013.
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=1000 if code is None else code)

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:
        # A malformed Origin is a foreign one.
        super().failHandshake(reason, 403 if "Origin" in reason else code, responseHeaders)

    def sendHttpErrorResponse(self, code: int, reason: str, responseHeaders: Any = None) -> None:
        headers = [(name.decode(), value.decode()) for name, value in backend_headers()]
        headers += [("Content-Length", "0"), ("Connection", "close"), *(responseHeaders or ())]
        super().sendHttpErrorResponse(code, reason, headers)

    def _accept(self, message: dict[str, Any]) -> None:
        """Like Daphne's, but with the application's headers."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in message.get("headers", ())
        }
        handshake = self.__dict__.pop("handshake_deferred", None)
        if handshake is not None:
            handshake.callback((message.get("subprotocol"), headers))

    def _deny(self) -> None:
        """Refuse the upgrade with the application's status (ASGI's extension websocket.http.response)."""
        status = self._denial["status"] if self._denial is not None else 403
        handshake = self.__dict__.pop("handshake_deferred", None)
        if handshake is not None:
            handshake.errback(ConnectionDeny(code=status, reason="Refused"))
            self.server.protocol_disconnected(self)


def _log(protocol: str, action: str, details: dict[str, Any]) -> None:
    """Log one line at the start and at the end of a connection; none for a successful health check."""
    client, path = details.get("client"), details.get("path")
    if action in ("connected", "disconnected", "rejected"):
        access.info("%s websocket %s %s", client, action, path)
    elif action == "complete" and not (path == "/channels/healthz" and details["status"] == 200):
        access.info(
            '%s "%s %s" %s %.3f s', client, details["method"], path, details["status"], details["time_taken"]
        )
