"""Guards ordinary Channels consumers: it checks the page's origin, and the session by one bounded query.

The hub closes their connections, like its own, when the session ends or the server restarts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from .. import authentication, close_codes, limits
from ..asgi_types import Application, Receive, Scope, Send
from ..authentication import Anonymous, Person
from ..metrics import count
from ..push.database_thread import DatabaseUnavailable
from ..push.hub import Hub, get_hub
from ..push.window import Subscription
from . import origin
from .transport import SocketTransport, socket_transport


def guarded(application: Application) -> Application:
    """Let only the site's own pages, of users who are signed in, reach the application.

    The scope has the `user`. Others are refused with 403 (a foreign Origin), or accepted and closed with a
    code of PROTOCOL's table: 4001, 4013, 1012 or 1013.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        connect = await receive()
        if not origin.may_connect(scope):
            count("origins_refused")
            await send({"type": "websocket.close"})
            return
        hub = get_hub()
        found, code = await _authenticate(hub, scope)
        transport = socket_transport(scope, send)
        if found is None:
            await send({"type": "websocket.accept"})
            transport.close(code)
            return
        person, user = found
        first = [connect]

        async def receive_all() -> dict[str, Any]:
            return first.pop() if first else await receive()

        connection = ConsumerConnection(person, transport)
        hub.people.enter(connection, person)
        count("connections_opened", transport=connection.TRANSPORT)
        try:
            await application({**scope, "user": user}, receive_all, send)
        finally:
            hub.people.leave(connection, person)

    return serve


class ConsumerConnection:
    """A connection that a Channels consumer serves. The hub only closes it."""

    TRANSPORT: ClassVar[str] = "consumer"
    __slots__ = ("_transport", "reader", "subscriptions")

    def __init__(self, person: Person, transport: SocketTransport) -> None:
        self.reader: Person | Anonymous | None = person
        self.subscriptions: dict[str, Subscription] = {}
        self._transport = transport

    def close(self, code: int) -> None:
        """Send a close frame; the application receives its disconnect."""
        count("closes", code=code)
        self._transport.close(code)

    def restart(self) -> None:
        """Tell the client that the server restarts."""
        self.close(close_codes.RESTART)

    def deny(self, names: Iterable[str]) -> None:
        """Do nothing: a consumer follows no streams."""


async def _authenticate(hub: Hub, scope: Scope) -> tuple[tuple[Person, Any] | None, int]:
    """The person and the user, or None and the close code."""
    key = authentication.session_key(scope)
    if hub.draining:
        return None, close_codes.RESTART
    if key is None:
        return None, close_codes.NOT_SIGNED_IN
    try:
        found = await hub.handshake.run(authentication.identify, key, within=limits.HELLO_SECONDS)
    except DatabaseUnavailable:
        return None, close_codes.TRY_LATER
    if found is None:
        return None, close_codes.NOT_SIGNED_IN
    if hub.people.is_full(found[0]):
        return None, close_codes.TOO_MANY
    return found, 0
