"""The users of a site under test: created in its database, signed in through its own form."""

from __future__ import annotations

import functools
import secrets
from abc import ABC, abstractmethod
from pathlib import Path

from .site import Browser


class People(ABC):
    """Ordinary users and their browsers, the same for a stack of containers and for a host."""

    url: str

    def __init__(self) -> None:
        self._sessions: dict[str, Browser] = {}

    @property
    def certificate(self) -> Path | None:
        """The certificate to trust, with TLS."""
        return None

    @abstractmethod
    def manage(self, code: str, service: str = "wsgi") -> str:
        """Run Python inside the project, with the service's account and environment."""

    @functools.cache  # noqa: B019  (a site lives as long as the test run)
    def person(self, name: str) -> str:
        """Create an ordinary user if necessary, and return a new password for it."""
        password = secrets.token_urlsafe(12)
        self.manage(
            "from django.contrib.auth import get_user_model as m;"
            f"u, _ = m().objects.get_or_create(username={name!r}); u.set_password({password!r}); u.save()"
        )
        return password

    def browser(self, name: str | None = None) -> Browser:
        """A browser, signed in if a name is given. All browsers of one name share a session, because signing
        in is slow by design.
        """
        browser = Browser(self.url, self.certificate)
        if name is None:
            return browser
        if name not in self._sessions:
            browser.sign_in(name, self.person(name))
            self._sessions[name] = browser
        browser.name = name
        browser.http.cookies.update(self._sessions[name].http.cookies)
        return browser
