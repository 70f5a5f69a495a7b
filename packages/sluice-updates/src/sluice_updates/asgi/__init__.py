"""The ASGI side of a site: WebSockets, event streams, consumers of Channels, health.

A project with consumers of its own has an asgi.py; for others `sluice_updates.asgi.default` is enough.

# asgi.py
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()

from sluice_updates.asgi import application as updates

application = updates(websocket_urlpatterns=[path("channels/chat/", ChatConsumer.as_asgi())])
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .consumers import guarded as guarded
    from .routes import application as application

__all__ = ["application", "guarded"]


def __getattr__(name: str) -> Any:
    """Import these at their first use: they need Django's apps, and the server loads before those."""
    if name == "application":
        from .routes import application

        return application
    if name == "guarded":
        from .consumers import guarded

        return guarded
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
