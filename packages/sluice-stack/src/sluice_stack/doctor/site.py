"""Pages, as a browser gets them: that nginx answers, for this name only, with the site behind it."""

from __future__ import annotations

import datetime
import json
import re
import ssl
import time
from collections.abc import Iterator
from typing import Any, Final

from django.conf import settings
from django.shortcuts import resolve_url
from django.urls import get_script_prefix

from sluice_updates.probe.http import Answer, NoAnswer

from .deployment import Check, Deployment
from .finding import Finding, Skipped, failed, one_line, passed, warning
from .front import WEBSOCKET, Front

_PLACE: Final = "nginx's place file (on a host /etc/nginx/conf.d/sluice-place.conf)"
_STRANGER: Final = "doctor.invalid"  # RFC 2606: nobody's name
_DAYS_LEFT: Final = 14


def front_of(deployment: Deployment) -> Front:
    """nginx. Raises Skipped if it isn't to be asked."""
    if deployment.front is None:
        raise Skipped("nginx is not asked from here")
    return deployment.front


def page() -> str:
    """A page that everybody may see: the one for signing in, without the prefix."""
    path = resolve_url(settings.LOGIN_URL)
    return "/" + path.removeprefix(get_script_prefix()) if path.startswith("/") else "/"


def is_django(answer: Answer) -> bool:
    """Whether Gunicorn's side made it: all its responses have a policy, and nobody else's."""
    return answer.headers.get("x-backend") == "wsgi" or "content-security-policy" in answer.headers


def _policy(answer: Answer) -> str:
    """What tells the site from another one behind the same nginx, which may have a policy of its own."""
    return answer.headers.get("content-security-policy", "")


def is_daphne(answer: Answer) -> bool:
    """Whether Daphne answered: its header says so, or the body is what `sluice_updates.asgi` sends for an
    unknown path."""
    says = answer.headers.get("x-backend") == "asgi"
    return says or (answer.body == "Not found.\n" and not is_django(answer))


def is_nginxs_redirect(answer: Answer) -> bool:
    """Whether nginx made it by itself: it has nginx's page, where Django's have no content.

    Whatever policy such an answer has is nginx's (add_header), so that it doesn't tell.
    """
    return answer.status in (301, 308) and f"<center><h1>{answer.status} " in answer.body


def missing(answer: Answer, service: str) -> Finding | None:
    """What nginx's own words about a backend mean; None if it said something else."""
    program = {"wsgi": "Gunicorn", "asgi": "Daphne"}[service]
    place = f"nginx looks for it at $sluice_{service} of {_PLACE}"
    words = {
        502: (
            f"{program} accepts and breaks off",
            f"see {program}'s log; open-files, if it has no more; {place}",
        ),
        503: (
            f"{program} isn't there",
            f"start {service} ({program}), or see in its log why it ended (open-files, if it has no more);"
            f" {place}",
        ),
        504: (f"{program} accepts and doesn't answer", f"see {program}'s log; restart it"),
    }
    return failed(*words[answer.status]) if answer.status in words else None


def _answers(deployment: Deployment) -> Iterator[Finding]:
    front = front_of(deployment)
    try:
        answer = front.ask(WEBSOCKET)  # to which nginx itself has the answer, whatever stands still behind it
    except NoAnswer as error:
        front.silent = True
        yield failed(
            f"{front.address} gives no answer: {error}",
            "start nginx (nginx -t says what it dislikes), or say where it listens with --at HOST:PORT",
        )
        return
    if answer.headers.get("location", "").startswith(("http://", "https://")) and answer.status < 400:
        front.silent = True
        place = answer.headers["location"].removesuffix(WEBSOCKET)
        yield failed(f"{front.url} leads on to {place}", f"ask there: doctor {place}/; SITE_URL must be it")
        return
    yield passed(f"{front.address} answers")


def _name(deployment: Deployment) -> Iterator[Finding]:
    front = front_of(deployment)
    try:
        answer = front.ask(page())
    except NoAnswer:
        raise Skipped("there is no page to look at: see front-pages") from None
    if answer.status == 421:
        yield failed(
            f"nginx goes by another name than {front.host}: {answer.sentence}",
            f"SITE_URL in .env; on a host $sluice_names in {_PLACE}",
        )
        return
    if answer.status == 400:
        yield failed(
            f"Django does not know the name {front.host}, or is asked by another",
            "SITE_URL must have it, and Gunicorn be restarted after a change; nginx must pass it on"
            " (proxy_set_header Host $http_host, snippets/sluice/request-headers.conf)",
        )
        return
    other = front.ask(page(), {"Host": _STRANGER})
    if other.status == 200 and is_django(other) and _policy(other) == _policy(answer):
        yield failed(
            "the site is served under any name",
            "ALLOWED_HOSTS must not have *, and nginx's server must refuse other names"
            " (conf.d/sluice-split.conf)",
        )
    else:
        yield passed(f"known by its name {front.host}; another gets {other.status}")


def _pages(deployment: Deployment) -> Iterator[Finding]:
    front = front_of(deployment)
    try:
        answer = front.ask(page())
    except NoAnswer as error:
        yield failed(f"a page gets no answer: {error}", "see Gunicorn's log; restart it")
        return
    found = missing(answer, "wsgi")
    if found is not None:
        yield found
    elif is_daphne(answer):
        yield failed(
            "Daphne is asked for pages, which are Gunicorn's",
            f"$sluice_wsgi of {_PLACE} must lead to Gunicorn, $sluice_asgi to Daphne",
        )
    elif place := answer.headers.get("location"):
        yield failed(
            f"the page for signing in leads on to {place}",
            "its address must be what is in the browser: SITE_URL, URL_PREFIX; where nginx or a proxy leads"
            " to https, SECURE_SSL_REDIRECT has no place",
        )
    elif answer.status == 404 and not is_django(answer):
        yield failed(
            f"{front.url}{page()} is not found: {answer.sentence or 'another server answers'}",
            "URL_PREFIX and $sluice_prefix of nginx's place file must be the same; nginx must have no other"
            " default server (rm /etc/nginx/sites-enabled/default)",
        )
    elif answer.status in (400, 421):
        raise Skipped("see front-name")
    elif not is_django(answer):
        yield failed(
            f"something else answers for the site, with {answer.status}",
            "nginx must have no other default server for this address (rm /etc/nginx/sites-enabled/default)",
        )
    elif answer.status != 200:
        yield failed(f"the page for signing in is answered {answer.status}", "see Gunicorn's log")
    elif front.origin.startswith("https:") and _takes_forms_without_tls(front, answer):
        yield failed(
            "Gunicorn isn't told that people come by https: it takes forms of pages without TLS",
            f"$sluice_scheme of {_PLACE} must be https where a proxy in front does the TLS;"
            " SITE_URL must be https",
        )
    else:
        yield passed("Gunicorn serves them")


def _takes_forms_without_tls(front: Front, signing_in: Answer) -> bool:
    """Whether the page's form is taken, left empty, as if it came from http:// with the same name.

    Django refuses that if it knows of https, and only then. Nothing else shows on each site what it knows: it
    asks for HSTS on port 443 alone, and for Secure cookies by SITE_URL.
    """
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', signing_in.body)
    if token is None:
        return False
    form = {
        "Origin": f"http://{front.host}",
        "Cookie": signing_in.headers.get("set-cookie", "").partition(";")[0],
        "Content-Type": "application/x-www-form-urlencoded",
    }
    answer = front.ask(page(), form, method="POST", body=f"csrfmiddlewaretoken={token[1]}".encode())
    return answer.status == 200


def _static(deployment: Deployment) -> Iterator[Finding]:
    front = front_of(deployment)
    found_page = front.ask(page())
    found = re.search(r'"([^"]*/static/[^"]+\.css)"', found_page.body)
    if found_page.status != 200 or found is None:
        raise Skipped("there is no page to look at: see front-pages")
    answer = front.ask(found[1].removeprefix(front.prefix))
    if answer.status != 200 or "css" not in answer.headers.get("content-type", ""):
        yield failed(
            f"{found[1]} is answered {answer.status}",
            "run manage.py collectstatic and python -m sluice_stack.migrate; nginx reads $sluice_static of"
            f" {_PLACE}",
        )
    else:
        yield passed("nginx has them")


def _ready(deployment: Deployment) -> Iterator[Finding]:
    front = front_of(deployment)
    answer = front.ask("/readyz")
    try:
        report: dict[str, Any] = json.loads(answer.body)
        parts = {name: report[name]["status"] for name in ("database", "publisher", "tasks")}
    except (ValueError, KeyError, TypeError):
        raise Skipped("/readyz gives no report: see front-pages") from None
    down = [name for name, status in parts.items() if status == "down"]
    if "database" in down:
        yield failed("Gunicorn can't reach its database", "see database-reachable, and Gunicorn's log")
    elif down:
        yield warning(
            f"Gunicorn can't reach the broker for {' and '.join(down)}", "see broker-reachable, broker-login"
        )
    else:
        said = ", ".join(f"{name} {status}" for name, status in parts.items())
        yield passed(f"Gunicorn says: {said}")


def _certificate(deployment: Deployment) -> Iterator[Finding]:
    front = front_of(deployment)
    if not front.address.name:
        raise Skipped(
            "plain http here" if front.origin.startswith("http:") else "a proxy in front does the TLS"
        )
    if front.silent:
        raise Skipped("nothing answers: see front-answers")
    try:
        with front.address.connect(verify=True) as wire:
            ends = ssl.cert_time_to_seconds(str(wire.getpeercert()["notAfter"]))  # type: ignore[attr-defined]
    except ssl.SSLCertVerificationError as error:
        why = one_line(error.verify_message)
        if "expired" in why or "not yet valid" in why or "mismatch" in why:
            yield failed(f"browsers refuse it: {why}", "renew ssl_certificate, for the name of SITE_URL")
        else:
            yield warning(
                f"this machine does not trust it: {why}",
                "a browser that doesn't either opens no WebSocket, without a word: use a certificate that"
                " people's browsers trust (ssl_certificate, with the intermediate ones)",
            )
        return
    except OSError as error:
        yield failed(f"no TLS: {one_line(error)}", "see nginx's error log; snippets/sluice/tls.conf")
        return
    until = datetime.datetime.fromtimestamp(ends, datetime.UTC)
    if ends - time.time() < _DAYS_LEFT * 24 * 3600:
        yield warning(f"it ends on {until:%Y-%m-%d}", "renew ssl_certificate")
    else:
        yield passed(f"trusted, until {until:%Y-%m-%d}")


CHECKS: Final = [
    Check("front-answers", "nginx answers where the site is", _answers),
    Check("front-certificate", "its certificate is trusted and lasts", _certificate),
    Check("front-name", "the site goes by its own name, and by no other", _name),
    Check("front-pages", "Gunicorn serves the pages, below the right prefix, knowing the scheme", _pages),
    Check("front-static", "nginx has the static files", _static),
    Check("front-ready", "Gunicorn reaches what it needs", _ready),
]
