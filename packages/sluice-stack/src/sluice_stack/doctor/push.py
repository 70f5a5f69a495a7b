"""The WebSocket as a browser uses it: the upgrade, the hello, refusals, and whether it stays open."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, urlsplit

from django.conf import settings

from sluice_updates.probe.http import CLOSE, PING, TEXT, Answer, Cut, NoAnswer, WebSocket

from .deployment import Check, Deployment
from .finding import Finding, Skipped, failed, passed, skipped, warning
from .front import Front
from .site import front_of, is_daphne, is_django, missing

HEALTH: Final = "/channels/healthz"
HELLO_SECONDS: Final = 4.0  # docs/reference/protocol.md allows 3
# The hub pings an idle client after 25 s.
PING_SECONDS: Final = 30.0
PATIENT_SECONDS: Final = 70.0  # longer than the 60 s after which most proxies cut an idle connection
# The ways of waking in the report of /channels/healthz, as what updates arrive by, and as what is broken.
_WAYS: Final = {
    "layer": "the channel layer",
    "notify": "PostgreSQL's notifications",
    "data_version": "a look at SQLite's file",
    "database": "the poll of the database alone: no LAYER_URL, and UPDATES_NOTIFY=no",
}
_PARTS: Final = {
    "layer": "the layer",
    "notify": "PostgreSQL's notification",
    "data_version": "the watch of SQLite's file",
    "database": "the database",
}
_FOREIGN: Final = "https://doctor.invalid"
_RESTARTED: Final = "restart Daphne if SITE_URL was changed since it started"


def _front(deployment: Deployment) -> Front:
    if not deployment.push:
        raise Skipped("push is off: see push-installed")
    return front_of(deployment)


def _upgrade(deployment: Deployment) -> Iterator[Finding]:
    front = _front(deployment)
    try:
        socket = front.upgrade()
    except NoAnswer as error:
        yield failed(
            f"the WebSocket handshake gets no answer: {error}",
            "see Daphne's log, and open-files: without files left it closes connections silently",
        )
        return
    socket.close()
    answer = socket.answer
    if answer.status == 101 and socket.is_genuine:
        yield passed("101 Switching Protocols")
    elif answer.status == 101:
        yield failed(
            "101 with a wrong key: another server answers the handshake",
            "look for a proxy in front that answers WebSockets itself",
        )
    else:
        yield _refused(front, answer)


def _refused(front: Front, answer: Answer) -> Finding:
    gone = missing(answer, "asgi")
    if gone is not None:
        return gone
    if answer.status in (400, 421) and not is_django(answer) and not is_daphne(answer):
        raise Skipped("see front-name")
    if answer.status == 403:
        return failed(
            f"Daphne refuses the page's Origin, {front.origin}",
            f"set SITE_URL to the address in the browser, with its port; {_RESTARTED}",
        )
    if answer.status == 426:
        return failed(
            "the upgrade does not reach nginx as an upgrade",
            "a proxy in front drops Connection and Upgrade, or speaks HTTP/1.0:"
            " it needs proxy_http_version 1.1,"
            ' proxy_set_header Upgrade $http_upgrade and Connection "upgrade"',
        )
    if answer.status == 429:
        return failed(
            "nginx refuses this address: it has too many connections",
            "raise CHANNELS_PER_ADDRESS in .env, on a host limit_conn and limit_req in the place file;"
            " or tell nginx the clients' own addresses (set_real_ip_from)",
        )
    if is_django(answer):
        return failed("the upgrade reaches Gunicorn, as a plain request", "see split-channels")
    if is_daphne(answer) or answer.status == 404:
        return failed(
            f"the upgrade reaches a server without a WebSocket there: {answer.status}",
            'nginx must pass Upgrade and Connection "upgrade" on, over HTTP/1.1'
            " (snippets/sluice/channels.conf); $sluice_prefix must be URL_PREFIX",
        )
    return failed(f"the upgrade gets {answer.status}: {answer.sentence}", "see Daphne's log")


def _hello(deployment: Deployment) -> Iterator[Finding]:
    front = _front(deployment)
    _accepts(front)
    socket = front.upgrade(headers={"Cookie": deployment.visitor.cookie()})
    began = time.monotonic()
    front.held = socket  # for push-idle
    try:
        kind, content = socket.frame(HELLO_SECONDS) or (0, b"")
    except Cut:
        yield failed("the socket is cut before its first frame", "see Daphne's log")
        front.close()
        return
    if kind == TEXT and _object(content).get("event") == "hello":
        yield passed(f"hello after {1000 * (time.monotonic() - began):.0f} ms")
        return
    front.close()
    yield failed(*_instead_of_hello(kind, content))


def _instead_of_hello(kind: int, content: bytes) -> tuple[str, str]:
    """Problem and fix for a first frame that is not a hello. Kind 0: there was none."""
    if kind == 0:
        return f"no hello within {HELLO_SECONDS:g} s", "see Daphne's log"
    if kind != CLOSE:
        return (
            "the first frame is not a hello",
            f"Daphne must serve {settings.ASGI_APPLICATION} (supervisor/conf.d/daphne.conf)",
        )
    # 1005: the frame has no code (RFC 6455, 7.1.5).
    code = struct.unpack("!H", content[:2])[0] if len(content) > 1 else 1005
    words = {
        1012: ("Daphne is about to stop", "wait until it is back; see its log"),
        1013: ("Daphne can't reach its database", "see database-reachable for asgi"),
        4001: (
            "Daphne does not know a session that was just created",
            "Gunicorn and Daphne must have one DATABASE_URL, SECRET_KEY_FILE and URL_PREFIX;"
            " nginx must pass Cookie on",
        ),
    }
    unknown = (f"Daphne closes it with {code}", "docs/reference/protocol.md has the codes; see Daphne's log")
    return words.get(code, unknown)


def _accepts(front: Front) -> None:
    """Raises Skipped if the handshake fails, so that one failure gives one line."""
    if front.status_of_upgrade() != 101:
        raise Skipped("there is no WebSocket: see push-upgrade")


def _origin(deployment: Deployment) -> Iterator[Finding]:
    front = _front(deployment)
    _accepts(front)
    strangers = {
        "a foreign page": _FOREIGN,
        "a page without an origin": "null",
        "a client without an Origin": "",
    }
    for who, origin in strangers.items():
        if front.status_of_upgrade(headers={"Origin": origin}) == 101:
            yield failed(
                f"{who} may open a WebSocket with your users' cookies",
                "remove * from ALLOWED_HOSTS, and foreign sites from CSRF_TRUSTED_ORIGINS;"
                " a consumer of your own must be behind sluice_updates.asgi.application",
            )
            return
    yield passed("only the site's own pages may open one")


def _headers(deployment: Deployment) -> Iterator[Finding]:
    front = _front(deployment)
    _accepts(front)
    fix = "nginx must overwrite or remove it: include snippets/sluice/request-headers.conf in that location"
    scheme = {"http": "https", "https": "http"}[urlsplit(front.origin).scheme]
    asked = f"{HEALTH}?origin={quote(f'{scheme}://{front.host}', safe='')}"
    if (
        _origin_is(front.ask(asked)) == "refused"
        and _origin_is(front.ask(asked, {"X-Forwarded-Proto": scheme})) == "known"
    ):
        yield failed("a client's own X-Forwarded-Proto is believed", fix)
        return
    if "layer" not in _report(front.ask(HEALTH)) and "layer" in _report(
        front.ask(HEALTH, {"X-Health-Details": "yes"})
    ):
        yield failed("a client's own X-Health-Details is believed: it sees the details of health", fix)
        return
    yield passed("no such header of a client reaches Daphne")


def _report(answer: Answer) -> dict[str, Any]:
    return _object(answer.body)


def _object(text: str | bytes) -> dict[str, Any]:
    """The JSON object in a text; an empty one for anything else."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _origin_is(answer: Answer) -> str:
    return str(_report(answer).get("origin", ""))


def _health(deployment: Deployment) -> Iterator[Finding]:
    front = _front(deployment)
    answer = front.ask(HEALTH)
    report = _report(answer)
    status = report.get("status")
    if status is None:
        yield missing(answer, "asgi") or failed(
            f"{HEALTH} gets {answer.status}: {answer.sentence}",
            "see split-channels and conf.d/sluice-split.conf",
        )
    elif status == "ok":
        yield passed(f"updates arrive by {_WAYS.get(report.get('way', 'layer'), 'an unknown way')}")
    elif status == "degraded":
        parts = {part: report.get(part, {}) for part in ("layer", "notify", "data_version", "database")}
        broken = [
            _PARTS[part]
            for part, state in parts.items()
            if state.get("works") is False and state.get("configured", True)
        ]
        fix = "see broker-reachable, layer-round-trip, database-reachable; if those pass, see Daphne's log"
        if "pooler" in str(parts["notify"].get("trouble")):
            fix = (
                "a connection pooler in transaction mode drops PostgreSQL's notifications: connect Daphne"
                " directly, or through a pool in session mode"
            )
        yield warning(
            f"Daphne is degraded: {' and '.join(broken) or 'the layer or the database'} carries none of its"
            " messages; updates arrive within about a second",
            fix,
        )
    else:
        yield failed(
            f"Daphne is {status}: it can deliver neither by the channel layer nor from the database",
            "see broker-reachable and database-reachable, then Daphne's log",
        )


def _idle(deployment: Deployment) -> Iterator[Finding]:
    front = _front(deployment)
    socket = front.held
    if socket is None:
        raise Skipped("there is no open socket: see push-hello")
    wanted = PATIENT_SECONDS if deployment.patient else PING_SECONDS
    fix = (
        "proxy_read_timeout must be longer than 25 s where /channels/ is passed on"
        " (snippets/sluice/channels.conf has 90s), and so must the idle time-out of each proxy and balancer"
        " in front of nginx"
    )
    try:
        pinged = _wait(socket, wanted, patient=deployment.patient)
    except Cut:
        age = time.monotonic() - socket.opened_at
        yield failed(f"an idle socket is cut after {age:.0f} s", fix)
        return
    if pinged is None:
        yield failed(
            f"Daphne does not ping: no frame in {wanted:.0f} s",
            "run it as `python -m sluice_updates.server` (supervisor/conf.d/daphne.conf); a proxy in front"
            " may buffer frames: proxy_buffering off",
        )
    elif deployment.patient:
        yield passed(
            f"an idle socket lives for {wanted:.0f} s; Daphne's first ping came after {pinged:.0f} s"
        )
    else:
        yield passed(
            f"Daphne's ping came after {pinged:.0f} s (--patient: watch it for {PATIENT_SECONDS:.0f} s)"
        )


def _wait(socket: WebSocket, seconds: float, *, patient: bool) -> float | None:
    """Seconds from the socket's opening to its first ping; None without a ping. Raises Cut.

    Returns after the first ping; if `patient`, `seconds` after the opening.
    """
    first: float | None = None
    until = socket.opened_at + seconds
    # At least 0.1 s, to read frames that arrived while other checks ran.
    while (frame := socket.frame(max(until - time.monotonic(), 0.1))) is not None:
        kind, content = frame
        if kind == CLOSE:
            raise Cut
        if kind == PING:
            socket.pong(content)
        if kind == PING or (kind == TEXT and _object(content).get("event") == "ping"):
            first = first or time.monotonic() - socket.opened_at
            if not patient:
                break
    return first


def _installed(deployment: Deployment) -> Iterator[Finding]:
    if deployment.push:
        yield passed("the packages of push are installed")
    else:
        yield skipped(
            "push is off: the asynchronous requirements (app/requirements-async.txt) are not installed;"
            " pages poll"
        )


CHECKS: Final = [
    Check("push-installed", "push is installed", _installed),
    Check("push-upgrade", "a page of the site gets its WebSocket", _upgrade),
    Check("push-hello", "a signed-in user gets a hello on it", _hello),
    Check("push-origin", "pages of other sites get none", _origin),
    Check("push-headers", "forged headers of clients are not believed", _headers),
    Check("push-health", "Daphne can deliver by the channel layer", _health),
]
LAST: Final = [Check("push-idle", "an idle socket is not cut", _idle)]
