"""What the checker and the split's table need of a site, be it a stack of containers or a host."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from .site import Browser


class Target(Protocol):
    """A running site."""

    @property
    def name(self) -> str: ...

    @property
    def port(self) -> int:
        """Of nginx, on this machine's loopback."""

    @property
    def prefix(self) -> str:
        """The URL prefix, "" or "/a/b"."""

    @property
    def origin(self) -> str:
        """Scheme, host and port as a browser's Origin header has them."""

    @property
    def url(self) -> str:
        """Where the site begins, without a slash at the end."""

    @property
    def certificate(self) -> Path | None:
        """What has to be trusted, with TLS."""

    @property
    def nginx_version(self) -> tuple[int, ...]: ...

    def person(self, name: str) -> str:
        """Make an ordinary user, once, and return the password."""

    def browser(self, name: str | None = None) -> Browser:
        """A browser; with a name, signed in."""

    def manage(self, code: str, service: str = "wsgi") -> str:
        """Run Python inside the project, as the service would."""

    def psql(self, query: str, *, parameters: Mapping[str, str] | None = None) -> list[list[str]]:
        """Rows of a query, run as the superuser."""

    def ask_directly(self, who: str, request: str) -> bytes:
        """What nginx, wsgi or asgi itself answers to that request, sent from where nginx runs."""

    def upstream(self, side: str) -> str:
        """The address of wsgi or asgi, as nginx's log has it."""

    def log_of(self, who: str) -> str:
        """What nginx, wsgi or asgi wrote; of nginx, the access log."""
