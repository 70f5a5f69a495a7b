"""Routes what is below /channels/ to WebSockets, event streams, Channels consumers and health.

What is elsewhere goes to the project's own application, if it has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.core.handlers.asgi import ASGIHandler

from ..asgi_types import Application, Receive, Scope, Send
from ..push.hub import get_hub
from . import stopping
from .health import healthz
from .inner_workers import InnerWorkers
from .responses import respond, saying_backend
from .sse import open_stream, server_sent_events
from .websocket import open_socket, websocket

PREFIX: Final = "/channels/"
WEBSOCKET: Final = "/channels/updates/"
EVENTS: Final = "/channels/updates/sse"
HEALTH: Final = "/channels/healthz"


def application(
    *,
    websocket_urlpatterns: Sequence[Any] = (),
    channels: Mapping[str, Application] | None = None,
    otherwise: Application | None = None,
) -> Application:
    """The application for an ASGI server.

    `websocket_urlpatterns`: Django URL patterns of ordinary Channels consumers, below channels/. Only the
    site's own pages reach them, and only users who are signed in; `scope["user"]` is the user.
    `channels`: consumers of named channels, for `manage.py runworker`. With DEBUG and a channel layer in
    memory, which that can't reach, this application runs them itself.
    `otherwise`: the project's own application, for all WebSockets outside channels/ and for all other HTTP
    requests. A ProtocolTypeRouter, or Django's application, gets only what it serves; the rest gets 404.
    Nothing checks origin or session before it: it must, or be wrapped in `guarded`.
    """
    consumers = _consumers(websocket_urlpatterns) if websocket_urlpatterns else None
    workers = _workers(channels) if channels else None
    inner = InnerWorkers(workers, list(channels)) if workers and channels else None

    return UpdatesApplication(consumers, workers, otherwise, inner)


class UpdatesApplication:
    """The ASGI application. The package's own server calls `open_socket` and `open_stream` instead."""

    update_path = WEBSOCKET
    event_path = EVENTS
    open_socket = staticmethod(open_socket)
    open_stream = staticmethod(open_stream)

    def __init__(
        self,
        consumers: Application | None,
        workers: Application | None,
        otherwise: Application | None,
        inner: InnerWorkers | None = None,
    ) -> None:
        self._inner = inner
        self._consumers = consumers or _no_socket
        self._workers = workers
        self._views = {EVENTS: server_sent_events, HEALTH: healthz}
        self._other_requests = _serving(otherwise, "http") or _not_found
        self._other_sockets = _serving(otherwise, "websocket") or _no_socket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stopping.notice(scope)
        kind = scope["type"]
        if kind == "websocket":
            if scope["path"] == WEBSOCKET:
                await websocket(scope, receive, send)
            elif scope["path"].startswith(PREFIX):
                self._start_inner_workers()
                await self._consumers(scope, receive, saying_backend(send))
            else:
                self._start_inner_workers()
                await self._other_sockets(scope, receive, saying_backend(send))
        elif kind == "http":
            await self._views.get(scope["path"], self._other_requests)(scope, receive, send)
        elif kind == "lifespan":
            await _lifespan(receive, send)
        elif kind == "channel" and self._workers is not None:
            await self._workers(scope, receive, send)
        else:
            raise ValueError(f"this application does not serve the scope {kind}")

    def _start_inner_workers(self) -> None:
        """A consumer is about to be served, and may send to named channels."""
        if self._inner is not None:
            self._inner.start()


def _serving(application: Application | None, kind: str) -> Application | None:
    """The application, unless it is known not to serve this kind of scope: it would raise an error."""
    if isinstance(application, ASGIHandler):  # Django's
        return application if kind == "http" else None
    mapping = getattr(application, "application_mapping", None)  # a ProtocolTypeRouter's
    return application if mapping is None or kind in mapping else None


def _consumers(urlpatterns: Sequence[Any]) -> Application:
    from channels.routing import URLRouter
    from django.urls import re_path

    from .consumers import guarded

    return guarded(URLRouter([*urlpatterns, re_path(r"", _no_socket)]))


def _workers(channels: Mapping[str, Application]) -> Application:
    from channels.routing import ChannelNameRouter

    return ChannelNameRouter(dict(channels))


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, 404, b"Not found.\n")


async def _no_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse an upgrade: with 404 if the server can send it, else with 403."""
    await receive()
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.http.response.start", "status": 404, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b""})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            get_hub()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await get_hub().stop()
            await send({"type": "lifespan.shutdown.complete"})
            return
