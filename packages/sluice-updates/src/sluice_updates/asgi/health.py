"""GET /channels/healthz: whether this process can deliver (PROTOCOL: Health)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
from typing import Any
from urllib.parse import parse_qs

from .. import addresses, conf, limits
from ..asgi_types import Receive, Scope, Send, headers
from ..metrics import counters
from ..push.hub import Hub, get_hub
from ..push.way import Way
from . import origin
from .responses import NO_STORE, respond

STATUSES = ("ok", "degraded", "deaf", "stopping")
JSON = (b"content-type", b"application/json")


async def healthz(scope: Scope, receive: Receive, send: Send) -> None:
    """200 while updates can be delivered, by any way or the poll; 503 when deaf or stopping."""
    hub = get_hub()
    with contextlib.suppress(TimeoutError):  # this request may have started the hub
        async with asyncio.timeout(limits.STALL_SECONDS):
            await hub.poller.has_polled.wait()
    report = health(hub)
    status = 200 if report["status"] in ("ok", "degraded") else 503
    if not _may_see_details(scope):
        report = {"status": report["status"]}
    asked = parse_qs(scope["query_string"].decode("latin-1")).get("origin")
    if asked:  # a browser does not tell a page why its WebSocket failed
        report["origin"] = "known" if origin.is_known(asked[-1], scope) else "refused"
    await respond(send, status, json.dumps(report).encode() + b"\n", JSON, NO_STORE)


def health(hub: Hub) -> dict[str, Any]:
    """The state of this process. Ages and latencies are in seconds."""
    now = hub.loop.time()
    polled, returned = _age(now, hub.poller.polled_at), _age(now, hub.layer.returned_at)
    polls = _is_young(polled) and not hub.poller.failures
    ways = {way.name: _way(way, now) for way in hub.ways}
    # The others only tell of a commit, which the poll reads.
    working = [way for way in hub.ways if ways[way.name]["works"] and (polls or way is hub.layer)]
    best = next((way for way in working if way.carries), next(iter(working), None))
    if best is None and _is_young(returned) and not polls:
        best = hub.layer
    if hub.draining:
        status = "stopping"
    elif not _is_young(polled) and not _is_young(returned):
        status = "deaf"
    elif polls and all(ways[way.name]["works"] for way in hub.ways if way.configured):
        status = "ok"
    else:
        status = "degraded"
    return {
        "status": status,
        "way": best.name if best else "database",
        "age": ways[best.name]["age"] if best else polled,
        "latency": round((best and best.latency) or hub.poller.latency, 6),
        **ways,
        "database": {"works": polls, "age": polled, "failures": hub.poller.failures},
        "connections": len(hub.people.connections),
        "people": len(hub.people),
        "anonymous": len(hub.people.anonymous),
        "streams": len(hub.streams),
        "counters": dict(counters),
    }


def _way(way: Way, now: float) -> dict[str, Any]:
    age = _age(now, way.returned_at)
    return {
        "configured": way.configured,
        "works": _is_young(age) and not way.failures,
        "age": age,
        "failures": way.failures,
        "trouble": way.trouble,
    }


def _age(now: float, then: float) -> float | None:
    return round(now - then, 3) if then else None


def _is_young(age: float | None) -> bool:
    return age is not None and age < limits.HEALTHY_SECONDS


def _may_see_details(scope: Scope) -> bool:
    """Whether the proxy allows it, or the client is in a network of SLUICE_UPDATES_HEALTH_ALLOW.

    The proxy must overwrite these headers. Without a proxy the peer is the client; without the setting only
    this machine may.
    """
    if headers(scope, b"x-health-details") == ["yes"]:
        return True
    allowed = conf.health_allow(behind_proxy=bool(addresses.forwarded(scope)))
    try:
        address = ipaddress.ip_address(addresses.of(scope))
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(network, strict=False) for network in allowed)
