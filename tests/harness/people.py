"""The people of a site under test: made in its database, signed in through its own form."""

from __future__ import annotations

import functools
import secrets
from abc import ABC, abstractmethod
from pathlib import Path

from .site import Browser


class People(ABC):
    """What a stack of containers and a host have in common: ordinary users, and browsers of theirs."""

    url: str

    def __init__(self) -> None:
        self._sessions: dict[str, Browser] = {}

    @property
    def certificate(self) -> Path | None:
        """What has to be trusted, with TLS."""
        return None

    @abstractmethod
    def manage(self, code: str, service: str = "wsgi") -> str:
        """Run Python inside the project, as the service would."""

    @functools.cache  # noqa: B019  (a site lives as long as the test run)
    def person(self, name: str) -> str:
        """Make an ordinary user, once, and return the password."""
        password = secrets.token_urlsafe(12)
        self.manage(
            "from django.contrib.auth import get_user_model as m;"
            f"u, _ = m().objects.get_or_create(username={name!r}); u.set_password({password!r}); u.save()"
        )
        return password

    def browser(self, name: str | None = None) -> Browser:
        """A browser; with a name, signed in. All of one name share a session, as windows do: signing in
        is slow by design.
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
