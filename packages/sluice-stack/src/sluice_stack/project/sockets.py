"""The updates beside the consumers of a project's own ASGI application.

Its pages stay with Gunicorn: no request for a page is answered here, whatever that application could do.
Import this module after Django is set up.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sluice_updates.asgi.routes import UpdatesApplication
from sluice_updates.asgi.routes import application as updates


def adopt(own: Any) -> Any:
    """An application with the updates and the sockets of the project's `own`.

    `own` may be None, Django's handler of pages, one of `sluice_updates.asgi`, or one of Channels.
    """
    if isinstance(own, UpdatesApplication):
        return own
    kinds = getattr(own, "application_mapping", {})  # of Channels' ProtocolTypeRouter
    return Beside(own, kinds) if {"websocket", "channel"} & kinds.keys() else updates()


class Beside(UpdatesApplication):
    """The updates beside a project's own ASGI application, which gets all other WebSockets and channels."""

    def __init__(self, own: Any, kinds: Collection[str]) -> None:
        super().__init__(None, own if "channel" in kinds else None, updates())
        self._sockets = own if "websocket" in kinds else super().__call__

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket" and scope["path"] != self.update_path:
            await self._sockets(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)
