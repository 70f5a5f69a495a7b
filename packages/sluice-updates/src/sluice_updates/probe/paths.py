"""The ways from a commit to a page, tried from outside: for `manage.py try_updates`."""

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

from .. import conf
from ..authentication import backend_of
from ..models import Update
from ..publishing import publish
from ..streams import user_stream
from .http import Address, exchange, new_key, upgrade_headers

EVENT: Final = "try-out"
_SECONDS: Final = 10.0  # for an answer, and for an update
_TIMES: Final = 3  # that an update is sent over an event stream
_BY_RABBITMQ: Final = 0.25  # the slowest of them; the poll of the database takes up to a second

_NOT_DAPHNE: Final = (
    "what answers there is the site, not Daphne:"
    ' nginx\'s server lacks "include snippets/sluice/channels.conf;", or another server answers for this name'
)
_HELD_BACK: Final = (
    f"nothing came within {_SECONDS:g} s: Daphne hangs, or a proxy in front of nginx holds events back"
    " (it must not buffer them; of an nginx: proxy_buffering off)"
)
_TRUST: Final = "if it is the right one, SSL_CERT_FILE=FILE, before the command, has it trusted"
_OTHER_SITE: Final = "is this the site of these settings, with the same database?"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one way: its name, whether it works, and a sentence."""

    what: str
    good: bool
    words: str


class _Failed(Exception):
    """What is missing, in words."""


class Trial:
    """A session of that user's on the site at `url`, for as long as the block lasts."""

    def __init__(self, url: str, user: Any) -> None:
        """Raises ValueError if the URL is none of a site's, LookupError if the user can't be signed in."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"{url!r} is no address of a site; write it as people do: https://example.org")
        secure = parts.scheme == "https"
        name = parts.hostname or ""
        self._address = Address(name, parts.port or (443 if secure else 80), name if secure else "", _SECONDS)
        self._host, self._prefix = parts.netloc, parts.path.rstrip("/")
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._user, self._backend = user, backend_of(user)
        self._stream = user_stream(user.pk)

    def __enter__(self) -> Trial:
        """Raises LookupError if no session can be kept."""
        try:
            self._session = self._signed_in()
        except Error:
            raise
        except (
            Exception
        ) as error:  # whatever the store's own are: a cache that is away, a folder that isn't there
            raise LookupError(f"{settings.SESSION_ENGINE} keeps no session: {error}") from error
        return self

    def _signed_in(self) -> SessionBase:
        session: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore()
        session[SESSION_KEY] = self._user._meta.pk.value_to_string(self._user)
        session[BACKEND_SESSION_KEY] = self._backend
        session[HASH_SESSION_KEY] = self._user.get_session_auth_hash()
        session.set_expiry(60)
        session.create()
        session.save()  # before which signed cookies have no key
        return session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(Exception):  # a store that is gone has said so; the session ends by itself
            self._session.delete()

    def outcomes(self, *, page: str | None = None) -> Iterator[Outcome]:
        """One way after the other, as it is tried."""
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
                yield Outcome(what, False, f"{self._host} doesn't answer: {error or type(error).__name__}")
            except Error as error:
                yield Outcome(what, False, database_error(error))
            except ValueError as error:
                yield Outcome(what, False, f"what {self._host} answers can't be read: {error}")

    # ---- the ways; each returns a sentence, or raises

    def _published(self) -> str:
        last = Update.objects.exclude(event=EVENT).order_by("pk").last()
        if last is None:
            raise _Failed(
                "the site has published nothing yet: none of its views calls publish(), or none was used"
            )
        return f"the site has published, last {last.event!r} in {last.stream!r}"

    def _poll(self) -> str:
        path = f"/updates/?streams={self._stream}&since={self._stream}/{self._head()}"
        publish(self._stream, EVENT, {})
        with self._get(path) as answer:
            _expect(
                answer, 200, {404: "urls.py has no path updates/ to sluice_updates.urls", 401: _OTHER_SITE}
            )
            try:
                came = {update["event"] for update in json.load(answer)["updates"]}
            except (ValueError, TypeError, KeyError):
                raise _Failed("what answers at updates/ is no view of sluice_updates.urls") from None
        if EVENT not in came:
            raise _Failed(f"the update that was just published didn't come; {_OTHER_SITE}")
        return "the update came"

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
                raise _Failed(f"no hello came, but {first or 'nothing'}")
            slowest = max(self._received(frames) for _ in range(_TIMES))
        return f"{_TIMES} updates came, the slowest after {slowest * 1000:.0f} ms, {_way(slowest)}"

    def _received(self, frames: Iterator[dict[str, Any]]) -> float:
        """Publish an update; the seconds until it comes."""
        began = time.monotonic()
        publish(self._stream, EVENT, {})
        if not any(frame.get("event") == EVENT for frame in frames):
            raise _Failed(f"an update that was just published didn't come within {_SECONDS:g} s")
        return time.monotonic() - began

    def _websocket(self) -> str:
        headers = {"Origin": self._origin, **upgrade_headers(new_key())}
        with self._get("/channels/updates/", headers) as answer:
            foreign = f"neither ALLOWED_HOSTS nor CSRF_TRUSTED_ORIGINS has {self._origin}"
            _expect(answer, 101, {403: foreign, 404: _NOT_DAPHNE})
        return "it opens"

    def _page(self, path: str) -> str:
        with self._get(path) as answer:
            _expect(answer, 200)
            text = answer.read().decode(errors="replace")
        found = re.search(r"[^\"'\s]*updates/updates(\.[0-9a-f]{12})?\.js", text)
        if not found:
            raise _Failed(f"{path} doesn't load sluice_updates/updates.js")
        return f"{path} loads {found[0]}"

    # ---- their parts

    def _get(
        self, path: str, headers: Mapping[str, str] | None = None
    ) -> contextlib.AbstractContextManager[http.client.HTTPResponse]:
        cookie = f"{settings.SESSION_COOKIE_NAME}={self._session.session_key}"
        sent = {"Host": self._host, "Accept-Encoding": "identity", "Cookie": cookie, **(headers or {})}
        return exchange(self._address, "GET", self._prefix + path, sent, verify=True)

    def _head(self) -> str:
        from ..history import heads

        return str(heads([self._stream])[self._stream].head)


def _expect(answer: http.client.HTTPResponse, status: int, meanings: Mapping[int, str] | None = None) -> None:
    """Raises _Failed for any other status, with its meaning, or with the sentence that nginx says."""
    if answer.status == status:
        return
    text = answer.read(1000).decode(errors="replace").strip()
    if text.startswith(f"{answer.status}: "):
        raise _Failed(text)
    if 300 <= answer.status < 400 and (place := answer.getheader("Location")):
        raise _Failed(f"{answer.status}: it leads on to {place}; the URL must be the one where people end up")
    raise _Failed(
        f"{answer.status}: {(meanings or {}).get(answer.status) or f'not the {status} that it should be'}"
    )


def _frames(answer: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """Of an event stream, for so many seconds at most."""
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
                raise ValueError(f"{frame!r} is no frame")
            yield frame


def database_error(error: Error) -> str:
    """What a database's error says, in one line."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return f"the database doesn't answer: {first} (does it run, and was manage.py migrate run?)"


def _way(seconds: float) -> str:
    values = {
        "CHANNEL_LAYERS": getattr(settings, "CHANNEL_LAYERS", None),
        "SLUICE_UPDATES_PUBLISHER_URL": conf.publisher_url(),
    }
    missing = [name for name, value in values.items() if not value]
    if missing:
        return f"by way of the database, without {' and '.join(missing)}"
    if seconds < _BY_RABBITMQ:
        return "by way of RabbitMQ"
    return "by way of the database; /channels/healthz says why RabbitMQ didn't wake Daphne"
