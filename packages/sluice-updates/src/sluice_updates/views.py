"""Polling: updates over plain HTTP, without any asynchronous part (PROTOCOL: Polling)."""

from __future__ import annotations

import json
import logging
import math
import random
import threading
import time
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from . import addresses, conf, history, positions, rights
from .streams import default_streams, is_personal

logger = logging.getLogger(__name__)

RETRY_AFTER_SECONDS: Final = 5
_SIGN_IN: Final = "sign in to receive updates"
_throttle: Final = addresses.Throttle()  # for anonymous readers; each process has its own
POLLS_AT_ONCE: Final = 2  # in one process: its other threads are for the site's other requests
POLLS_PER_SECOND: Final = 20  # at which refused clients come back
LONGEST_SECONDS: Final = 60


class Turns:
    """Keeps polls from taking all threads of a process. Without Daphne, every page polls."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(POLLS_AT_ONCE)
        self._lock = threading.Lock()
        self._booked = 0.0  # the time that the last refused client was given

    def take(self) -> bool:
        """Take a place, if one is free. Never waits: that would take a thread, too."""
        return self._places.acquire(blocking=False)

    def leave(self) -> None:
        """Give the place back."""
        self._places.release()

    def seconds(self) -> int:
        """When a refused client is to come back: each at a time of its own."""
        with self._lock:
            now = time.monotonic()
            self._booked = max(self._booked, now) + 1 / POLLS_PER_SECOND
            if self._booked > now + LONGEST_SECONDS:  # there are no more times to give out
                self._booked = now + LONGEST_SECONDS
                return random.randint(LONGEST_SECONDS // 2, LONGEST_SECONDS)
            return math.ceil(self._booked - now)


_turns: Final = Turns()


@require_safe
@never_cache
@transaction.non_atomic_requests
def poll(request: HttpRequest) -> HttpResponse:
    """Answer `GET updates/?streams=…&since=…`: the streams' heads and the updates missed since, as JSON."""
    if not _turns.take():
        return _later("too many pages poll at once; try again", _turns.seconds())
    try:
        return _poll(request)
    except positions.MalformedQuery as error:
        return _error(400, error.detail, field=error.field)
    except (DatabaseError, InterfaceError) as error:
        if isinstance(error, (OperationalError, InterfaceError)):
            # The database is down, and every page polls: one line for each.
            logger.warning("updates: a poll failed: %s", " ".join(str(error).split()))
        else:
            logger.exception("updates: a poll failed")
        return _later("the database can't be reached at the moment; try again", RETRY_AFTER_SECONDS)
    finally:
        _turns.leave()


def _poll(request: HttpRequest) -> HttpResponse:
    user = request.user
    signed_in = user.is_authenticated and user.is_active
    if not signed_in and (user.is_authenticated or not conf.anonymous()):
        return _error(401, _SIGN_IN)
    if len(request.get_full_path()) > positions.MAX_URL_BYTES:
        return _error(
            414, f"the URL is longer than {positions.MAX_URL_BYTES} bytes", limit=positions.MAX_URL_BYTES
        )
    query = request.META.get("QUERY_STRING", "")
    since = positions.parse_since(query)
    wanted = positions.parse_streams(query) or default_streams(user.pk)
    if signed_in:
        allowed = rights.allowed(user, wanted)
    else:
        if seconds := _throttle.wait(_address(request), conf.polls_per_address()):
            response = _error(429, "this address polls too often", limit=conf.polls_per_address())
            response["Retry-After"] = str(seconds)
            return response
        allowed = rights.allowed_anonymously([*wanted, *filter(is_personal, since)], {})
        if not allowed:
            return _error(401, _SIGN_IN)
    reading = history.read({stream: since.get(stream) for stream in wanted if stream in allowed})
    return HttpResponse(_body(wanted, reading), content_type="application/json")


def _address(request: HttpRequest) -> str:
    """The client's address, as the limits know it."""
    found = request.META.get("HTTP_X_REAL_IP") or request.META.get("HTTP_X_FORWARDED_FOR")
    return addresses.group(addresses.client([found] if found else [], request.META.get("REMOTE_ADDR", "")))


def _body(wanted: list[str], reading: history.Reading) -> str:
    streams: dict[str, dict[str, Any]] = {}
    for stream in wanted:
        if stream not in reading.states:
            streams[stream] = {"denied": True}
            continue
        streams[stream] = {"head": str(reading.states[stream].head)}
        if stream in reading.recovered:
            streams[stream]["recovered"] = reading.recovered[stream]
    # The frames are JSON already: the same text that goes over a socket.
    frames = ",".join(update.frame for update in reading.updates)
    return f'{{"streams":{json.dumps(streams)},"updates":[{frames}],"more":{json.dumps(reading.more)}}}'


def _later(detail: str, seconds: int) -> JsonResponse:
    response = _error(503, detail)
    response["Retry-After"] = str(seconds)
    return response


def _error(status: int, detail: str, **more: Any) -> JsonResponse:
    error = {"detail": detail, **{name: value for name, value in more.items() if value}}
    return JsonResponse({"error": error}, status=status)
