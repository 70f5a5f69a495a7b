"""Clients' addresses, and a limit for the requests of each."""

from __future__ import annotations

import ipaddress
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from .asgi_types import Scope, headers

ADDRESSES: Final = 10_000  # whose requests one throttle counts; more push out those seen least recently
WINDOW_SECONDS: Final = 60.0


def client(forwarded: Sequence[str], peer: str) -> str:
    """The client's address: the last that the proxy's header names, without a proxy the peer's.

    The proxy must overwrite the header (README: The proxy).
    """
    return forwarded[-1].rpartition(",")[2].strip() if forwarded else peer


def forwarded(scope: Scope) -> list[str]:
    """The proxy's header with the client's address; empty without a proxy."""
    return headers(scope, b"x-real-ip") or headers(scope, b"x-forwarded-for")


def of(scope: Scope) -> str:
    """The client's address; empty if it is not known."""
    return client(forwarded(scope), (scope.get("client") or ("",))[0] or "")


def group(address: str) -> str:
    """What counts as one address: an IPv6 client has a whole /64. Empty if it is not an address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, 64), strict=False))


class Throttle:
    """Counts the requests of each address in windows of a minute. Threads may share it."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()  # end of the window, requests in it

    def wait(self, address: str, most: int) -> int:
        """Count a request. Returns 0 if it is one of the `most` of this window, else the seconds until the
        next window.
        """
        now = self._now()
        with self._lock:
            end, count = self._counts.pop(address, (0.0, 0))
            if end <= now:
                end, count = now + WINDOW_SECONDS, 0
            self._counts[address] = end, count + 1
            if len(self._counts) > ADDRESSES:
                self._counts.popitem(last=False)
        return 0 if count < most else math.ceil(end - now)
