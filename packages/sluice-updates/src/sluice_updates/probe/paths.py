"""Tries each path of an update from a commit to a page, from outside, for `manage.py try_updates`."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase
from django.db import Error
from django.urls import NoReverseMatch, get_script_prefix, reverse

from .. import conf
from ..authentication import backend_of
from ..models import Update
from ..publishing import publish
from ..streams import user_stream
from ..wakeup import notifications
from .http import Address, exchange, new_key, upgrade_headers

EVENT: Final = "try-out"
_SECONDS: Final = 10.0  # the limit for a response, and for an update
_TIMES: Final = 3  # how many updates are sent to the event stream
_AT_ONCE: Final = 0.25  # an update that takes longer came by the hub's poll of the database

_NOT_DAPHNE: Final = (
    "the site answers there, not Daphne:"
    " nginx does not pass /channels/ on to Daphne, or another server answers for this name"
)
_HELD_BACK: Final = (
    f"nothing came within {_SECONDS:g} s: Daphne hangs, or a proxy in front of it buffers events"
    " (turn that off; in nginx: proxy_buffering off)"
)
_TRUST: Final = "if it is the right one, put SSL_CERT_FILE=FILE before the command to trust it"
_OTHER_URLS: Final = "was the site restarted after urls.py was changed?"
_OTHER_SITE: Final = "do the site and this command use the same database?"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one path: its name, whether it works, and a clause about it."""

    what: str
    good: bool
    words: str


class _Failed(Exception):
    """A path doesn't work. The text is the problem and, where known, the fix."""


class Trial:
    """A context manager that tries the paths on a site, with a session that it creates and deletes."""

    def __init__(self, url: str, user: Any, *, connect: str = "") -> None:
        """`url`: the site's. `connect`: the address of the proxy, if not the one of the URL's host.

        Raises ValueError for an invalid URL, LookupError if the user can't sign in.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(
                f"{url!r} is not the address of a site; give it as in a browser, such as https://example.org"
            )
        secure = parts.scheme == "https"
        name = parts.hostname or ""
        port = parts.port or (443 if secure else 80)
        self._address = Address(connect or name, port, name if secure else "", _SECONDS)
        self._host, self._prefix = parts.netloc, parts.path.rstrip("/")
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._user, self._backend = user, backend_of(user)
        self._stream = user_stream(user.pk)

    def __enter__(self) -> Trial:
        """Create the session. Raises LookupError if it can't be stored."""
        try:
            self._session = self._signed_in()
        except Error:
            raise
        except Exception as error:  # the session store's, such as those of a cache that is down
            raise LookupError(f"{settings.SESSION_ENGINE} can't store a session: {error}") from error
        return self

    def _signed_in(self) -> SessionBase:
        session: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore()
        session[SESSION_KEY] = self._user._meta.pk.value_to_string(self._user)
        session[BACKEND_SESSION_KEY] = self._backend
        session[HASH_SESSION_KEY] = self._user.get_session_auth_hash()
        session.set_expiry(60)
        session.create()
        session.save()  # gives a session in signed cookies its key
        return session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The store's error was reported before, and the session expires.
        with contextlib.suppress(Exception):
            self._session.delete()

    def outcomes(self, *, page: str | None = None) -> Iterator[Outcome]:
        """Try the paths, one after the other. `page`: the path of a page with the tag, or with updates.js."""
        ways = {
            "publishing": self._published,
            "polling": self._poll,
            "event stream": self._event_stream,
            "WebSocket": self._websocket,
        }
        if page is not None:
            ways["page"] = lambda: self._page(page)
        for what, way in ways.items():
            try:
                yield Outcome(what, True, way())
            except _Failed as failed:
                yield Outcome(what, False, str(failed))
            except ssl.SSLCertVerificationError as error:
                yield Outcome(what, False, f"{self._host}'s certificate: {error.verify_message}; {_TRUST}")
            except (OSError, http.client.HTTPException) as error:
                yield Outcome(what, False, f"{self._host} does not answer: {error or type(error).__name__}")
            except Error as error:
                yield Outcome(what, False, database_error(error))
            except ValueError as error:
                yield Outcome(what, False, f"the response of {self._host} can't be read: {error}")

    # The paths. Each returns a clause if it works, or raises

    def _published(self) -> str:
        last = Update.objects.exclude(event=EVENT).order_by("pk").last()
        if last is None:
            raise _Failed("the site has published nothing yet: no view calls publish(), or none was used")
        return f"the site has published, last {last.event!r} in {last.stream!r}"

    def _poll(self) -> str:
        try:
            path = "/" + reverse("sluice_updates:poll").removeprefix(get_script_prefix())
        except NoReverseMatch:
            raise _Failed("urls.py does not include sluice_updates.urls") from None
        query = f"?streams={self._stream}&since={self._stream}/{self._head()}"
        publish(self._stream, EVENT, {})
        with self._get(path + query) as answer:
            _expect(answer, 200, {404: f"nothing is at {path}; {_OTHER_URLS}", 401: _OTHER_SITE})
            try:
                came = {update["event"] for update in json.load(answer)["updates"]}
            except (ValueError, TypeError, KeyError):
                raise _Failed(
                    f"the response at {path} is not from sluice_updates.urls; {_OTHER_URLS}"
                ) from None
        if EVENT not in came:
            raise _Failed(f"the update that was just published did not arrive; {_OTHER_SITE}")
        return "the update arrived"

    def _event_stream(self) -> str:
        try:
            return self._timed_events()
        except TimeoutError:
            raise _Failed(_HELD_BACK) from None

    def _timed_events(self) -> str:
        with self._get(f"/channels/updates/sse?streams={self._stream}") as answer:
            _expect(answer, 200, {404: _NOT_DAPHNE})
            if not (answer.getheader("Content-Type") or "").startswith("text/event-stream"):
                raise _Failed(_NOT_DAPHNE)
            frames = _frames(answer)
            if (first := next(frames, {})).get("event") != "hello":
                raise _Failed(f"the first event is not hello, but {first or 'missing'}")
            slowest = max(self._received(frames) for _ in range(_TIMES))
        return f"{_TIMES} updates arrived, the slowest after {slowest * 1000:.0f} ms, {_way(slowest)}"

    def _received(self, frames: Iterator[dict[str, Any]]) -> float:
        """Publish an update and return the seconds until it arrives."""
        began = time.monotonic()
        publish(self._stream, EVENT, {})
        if not any(frame.get("event") == EVENT for frame in frames):
            raise _Failed(f"an update that was just published did not arrive within {_SECONDS:g} s")
        return time.monotonic() - began

    def _websocket(self) -> str:
        headers = {"Origin": self._origin, **upgrade_headers(new_key())}
        with self._get("/channels/updates/", headers) as answer:
            foreign = f"{self._origin} is in neither ALLOWED_HOSTS nor CSRF_TRUSTED_ORIGINS"
            _expect(answer, 101, {403: foreign, 404: _NOT_DAPHNE})
        return "it opens"

    def _page(self, path: str) -> str:
        with self._get(path) as answer:
            _expect(answer, 200)
            text = answer.read().decode(errors="replace")
        found = re.search(r"[^\"'\s]*sluice_updates/(page|updates)(\.[0-9a-f]{12})?\.js", text)
        if not found:
            raise _Failed(f"{path} does not have {{% sluice_updates %}}, and doesn't load updates.js either")
        script = found[0]
        if script.startswith("/") and not script.startswith("//"):  # otherwise another server has it
            with self._get(script, prefix="") as answer:
                if answer.status != 200:
                    raise _Failed(
                        f"{path} loads {script}, which answers {answer.status}: run collectstatic, and serve"
                        " the files of STATIC_ROOT at STATIC_URL"
                    )
        return f"{path} loads {script}"

    # Parts of the paths

    def _get(
        self, path: str, headers: Mapping[str, str] | None = None, *, prefix: str | None = None
    ) -> contextlib.AbstractContextManager[http.client.HTTPResponse]:
        cookie = f"{settings.SESSION_COOKIE_NAME}={self._session.session_key}"
        sent = {"Host": self._host, "Accept-Encoding": "identity", "Cookie": cookie, **(headers or {})}
        target = (self._prefix if prefix is None else prefix) + path
        return exchange(self._address, "GET", target, sent, verify=True)

    def _head(self) -> str:
        from ..history import heads

        return str(heads([self._stream])[self._stream].head)


def _expect(answer: http.client.HTTPResponse, status: int, meanings: Mapping[int, str] | None = None) -> None:
    """Raises _Failed unless the response has this status. `meanings`: the problem by status."""
    if answer.status == status:
        return
    text = answer.read(1000).decode(errors="replace").strip()
    if text.startswith(f"{answer.status}: "):
        raise _Failed(text)
    if 300 <= answer.status < 400 and (place := answer.getheader("Location")):
        raise _Failed(f"{answer.status}: redirected to {place}; give the URL after all redirects")
    raise _Failed(f"{answer.status}: {(meanings or {}).get(answer.status) or f'{status} is expected'}")


def _frames(answer: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The frames of an event stream, until it ends or _SECONDS have passed."""
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        try:
            line = answer.readline()
        except TimeoutError:
            return
        if not line:
            return
        if line.startswith(b"data: "):
            frame = json.loads(line.removeprefix(b"data: "))
            if not isinstance(frame, dict):
                raise ValueError(f"{frame!r} is not a frame")
            yield frame


def database_error(error: Error) -> str:
    """A database error on one line, with what to check."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return f"the database does not answer: {first} (is it running, and did you run manage.py migrate?)"


def _way(seconds: float) -> str:
    values = {
        "CHANNEL_LAYERS": getattr(settings, "CHANNEL_LAYERS", None),
        "SLUICE_UPDATES_PUBLISHER_URL": conf.publisher_url(),
    }
    missing = [name for name, value in values.items() if not value]
    if not missing:
        way = "RabbitMQ"
    elif notifications.is_wanted():
        way = "PostgreSQL's notifications"
    elif notifications.is_watched():
        way = "a look at SQLite's file"
    else:
        return (
            f"by the database, since {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set"
        )
    if seconds < _AT_ONCE:
        return f"by {way}"
    return f"by the database; /channels/healthz shows why {way} did not wake Daphne"
