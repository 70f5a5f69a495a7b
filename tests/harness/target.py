"""The interface of a site for the checker and the routing table's tests, whether it runs in containers or on
a host.
"""

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
        """nginx's port on this machine's loopback."""

    @property
    def prefix(self) -> str:
        """The URL prefix, "" or "/a/b"."""

    @property
    def asgi_prefixes(self) -> tuple[str, ...]:
        """The paths below the URL prefix that nginx passes on to Daphne."""

    @property
    def origin(self) -> str:
        """Scheme, host and port as a browser's Origin header has them."""

    @property
    def url(self) -> str:
        """The site's base URL, without a slash at the end."""

    @property
    def certificate(self) -> Path | None:
        """The certificate to trust, with TLS."""

    @property
    def nginx_version(self) -> tuple[int, ...]: ...

    def person(self, name: str) -> str:
        """Create an ordinary user if necessary, and return a new password for it."""

    def browser(self, name: str | None = None) -> Browser:
        """A browser, signed in if a name is given."""

    def manage(self, code: str, service: str = "wsgi") -> str:
        """Run Python inside the project, with the service's account and environment."""

    def psql(self, query: str, *, parameters: Mapping[str, str] | None = None) -> list[list[str]]:
        """Rows of a query, run as the superuser."""

    def ask_directly(self, who: str, request: str) -> bytes:
        """Send a request to nginx, wsgi or asgi from nginx's machine, and return the response."""

    def upstream(self, side: str) -> str:
        """The address of wsgi or asgi, as in nginx's log."""

    def log_of(self, who: str) -> str:
        """The log of nginx, wsgi or asgi; for nginx, the access log."""
