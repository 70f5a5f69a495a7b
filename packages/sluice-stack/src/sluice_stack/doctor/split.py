"""The split, from outside: Daphne gets requests below /channels/ and no others.

Reference: docs/reference/the-split.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .deployment import Check, Deployment
from .finding import Finding, Skipped, failed, passed
from .front import WEBSOCKET
from .site import front_of, is_daphne, is_django, is_nginxs_redirect, page

_INCLUDE: Final = (
    "put `include snippets/sluice/channels.conf;` into nginx's server { }, instead of a location"
)
_NOT_CHANNELS: Final = ("/channels", "/channelsx/", "/CHANNELS/")
_IMITATIONS: Final = ("//channels/updates/", "/%63hannels/updates/", "/x/../channels/updates/")


def _channels(deployment: Deployment) -> Iterator[Finding]:
    answer = front_of(deployment).ask(WEBSOCKET)
    if answer.status in (400, 421):
        raise Skipped("see front-name")
    if is_django(answer):
        yield failed(
            "requests below /channels/ reach Gunicorn",
            "nginx's server { } needs the line `include snippets/sluice/channels.conf;` (site.conf has it),"
            " and $sluice_prefix of its place file must be URL_PREFIX",
        )
    elif is_daphne(answer):
        yield failed("plain requests below /channels/ reach Daphne; only upgrades may", _INCLUDE)
    elif answer.status != 426:
        said = answer.sentence or "another server answers"
        yield failed(f"a plain request below /channels/ gets {answer.status}, not 426: {said}", _INCLUDE)
    else:
        yield passed("nginx demands an upgrade there")


def _site(deployment: Deployment) -> Iterator[Finding]:
    front = front_of(deployment)
    for path in (page(), *_NOT_CHANNELS, f"/channels/..{page()}"):
        answer = front.ask(path)
        # At the other paths, the site itself may answer with such a status.
        if answer.status in (400, 421) and (path == page() or not is_django(answer)):
            raise Skipped("see front-name")
        if is_daphne(answer):
            yield failed(
                f"{path} reaches Daphne",
                f"{_INCLUDE}; a location must name /channels/, with both slashes",
            )
        elif answer.status == 426 and not is_django(answer):
            yield failed(f"{path} is treated as if it were below /channels/", _INCLUDE)
        elif is_nginxs_redirect(answer) and answer.headers.get("location", "").endswith("/channels/"):
            yield failed(
                f"nginx itself redirects {path}, so that the site can't serve it",
                f"`location /channels/` with a proxy_pass does that; {_INCLUDE}",
            )
        else:
            continue
        return
    yield passed("nothing outside of /channels/ reaches Daphne")


def _imitations(deployment: Deployment) -> Iterator[Finding]:
    front = front_of(deployment)
    for path in _IMITATIONS:
        socket = front.upgrade(path)
        socket.close()
        if socket.answer.status == 101 or is_daphne(socket.answer):
            yield failed(f"{path} reaches Daphne, though it is not /channels/", _INCLUDE)
            return
    yield passed("no other spelling of /channels/ reaches Daphne")


def _bodies(deployment: Deployment) -> Iterator[Finding]:
    front = front_of(deployment)
    asked = {
        "a POST": (front.ask(WEBSOCKET, method="POST"), 405),
        "a body": (front.ask(WEBSOCKET, body=b"{}"), 413),
    }
    for what, (answer, expected) in asked.items():
        if answer.status in (400, 421) or is_django(answer):
            raise Skipped("see split-channels")
        if answer.status != expected:
            yield failed(
                f"{what} below /channels/ gets {answer.status}, not {expected}: Daphne reads it all",
                _INCLUDE,
            )
            return
    yield passed("nginx passes no body and no other method on")


CHECKS: Final = [
    Check("split-channels", "only upgrades pass below /channels/", _channels),
    Check("split-site", "nothing else reaches Daphne", _site),
    Check("split-imitations", "no other spelling of /channels/ reaches it", _imitations),
    Check("split-bodies", "no body and no other method reaches it", _bodies),
]
