"""Pages as a browser gets them: nginx answers, serves the site's name only, and passes pages to Gunicorn."""

from __future__ import annotations

import datetime
import json
import re
import ssl
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.http import Http404
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, get_script_prefix, resolve

from sluice_stack.challenge import SIGNED, is_signed
from sluice_updates.probe.http import Answer, NoAnswer

from .deployment import Check, Deployment
from .finding import Finding, Skipped, failed, one_line, passed, warning
from .front import WEBSOCKET, Front

_PLACE: Final = "nginx's place file (on a host /etc/nginx/conf.d/sluice-place.conf)"
_STRANGER: Final = "doctor.invalid"  # RFC 2606: never a real name
_DAYS_LEFT: Final = 14


def front_of(deployment: Deployment) -> Front:
    """The deployment's nginx. Raises Skipped if it is not checked from here."""
    if deployment.front is None:
        raise Skipped("nginx is not checked from here")
    return deployment.front


def page() -> str:
    """The path of a page that everybody may see, without the prefix: the sign-in page, if there is one."""
    try:
        path = resolve_url(settings.LOGIN_URL)
        if not path.startswith("/"):  # another site signs people in
            return "/"
        path = "/" + path.removeprefix(get_script_prefix())
        resolve(urlsplit(path).path)
    except (NoReverseMatch, Http404):
        return "/"
    return path


def is_django(answer: Answer) -> bool:
    """Whether Gunicorn made the response.

    By X-Backend, by the policy that the stack's middleware adds, or by the answer to the doctor's challenge.
    """
    if is_foreign():
        return answer.headers.get("x-backend") == "wsgi" or is_signed(answer.headers.get(SIGNED.lower(), ""))
    return answer.headers.get("x-backend") == "wsgi" or "content-security-policy" in answer.headers


def is_foreign() -> bool:
    """Whether the site is a project that takes the stack's settings by `configure`. Its pages are its own."""
    return bool(getattr(settings, "SLUICE_STACK_CONFIGURED", False))


def _policy(answer: Answer) -> str:
    """The response's policy. It distinguishes the site from another one behind the same nginx."""
    return answer.headers.get("content-security-policy", "")


def is_daphne(answer: Answer) -> bool:
    """Whether Daphne made the response.

    By X-Backend, or by the body of sluice_updates.asgi for unknown paths.
    """
    is_named = answer.headers.get("x-backend") == "asgi"
    return is_named or (answer.body == "Not found.\n" and not is_django(answer))


def is_nginxs_redirect(answer: Answer) -> bool:
    """Whether nginx made the redirect. It has nginx's page as its body, while Django's redirects are empty.

    A policy proves nothing here, since nginx may add one (add_header).
    """
    return answer.status in (301, 308) and f"<center><h1>{answer.status} " in answer.body


def missing(answer: Answer, service: str) -> Finding | None:
    """The finding for nginx's own response that a backend failed; None for any other response."""
    program = {"wsgi": "Gunicorn", "asgi": "Daphne"}[service]
    place = f"nginx connects to $sluice_{service} of {_PLACE}"
    words = {
        502: (
            f"{program} accepts the connection and closes it",
            f"see {program}'s log, and open-files if it has no files left; {place}",
        ),
        503: (
            f"{program} is down",
            f"start {service} ({program}); if it ended, see its log, and open-files if it has no files left;"
            f" {place}",
        ),
        504: (f"{program} accepts the connection and does not answer", f"see {program}'s log; restart it"),
    }
    return failed(*words[answer.status]) if answer.status in words else None


def _answers(deployment: Deployment) -> Iterator[Finding]:
    front = front_of(deployment)
    try:
        answer = front.ask(WEBSOCKET)  # nginx answers this without a backend
    except NoAnswer as error:
        front.silent = True
        yield failed(
            f"{front.address} does not answer: {error}",
            "start nginx (nginx -t shows mistakes), or name its address by --at HOST:PORT",
        )
        return
    if answer.headers.get("location", "").startswith(("http://", "https://")) and answer.status < 400:
        front.silent = True
        place = answer.headers["location"].removesuffix(WEBSOCKET)
        yield failed(
            f"{front.url} redirects to {place}",
            f"check that address: doctor {place}/; SITE_URL must be the same",
        )
        return
    yield passed(f"{front.address} answers")


def _name(deployment: Deployment) -> Iterator[Finding]:
    front = front_of(deployment)
    try:
        answer = front.ask(page())
    except NoAnswer:
        raise Skipped("there is no page: see front-pages") from None
    if answer.status == 421:
        yield failed(
            f"nginx does not serve the name {front.host}: {answer.sentence}",
            f"correct SITE_URL in .env, on a host $sluice_names in {_PLACE}",
        )
        return
    if answer.status == 400:
        yield failed(
            f"Django does not serve the name {front.host}, or nginx passes another one on",
            "set SITE_URL to it and restart Gunicorn; nginx must pass the name on"
            " (proxy_set_header Host $http_host, snippets/sluice/request-headers.conf)",
        )
        return
    other = front.ask(page(), {"Host": _STRANGER})
    if other.status == 200 and is_django(other) and _policy(other) == _policy(answer):
        yield failed(
            "the site is served for any name",
            "remove * from ALLOWED_HOSTS; nginx's server must refuse other names (conf.d/sluice-split.conf)",
        )
    else:
        yield passed(f"served for {front.host}; another name gets {other.status}")


def _pages(deployment: Deployment) -> Iterator[Finding]:
    front = front_of(deployment)
    try:
        answer = front.ask(page())
    except NoAnswer as error:
        yield failed(f"pages get no answer: {error}", "see Gunicorn's log; restart it")
        return
    found = missing(answer, "wsgi")
    if found is not None:
        yield found
    elif is_daphne(answer):
        yield failed(
            "nginx passes pages to Daphne instead of Gunicorn",
            f"$sluice_wsgi of {_PLACE} must lead to Gunicorn, $sluice_asgi to Daphne",
        )
    elif (place := answer.headers.get("location")) and not _leads_to_the_site(front, place):
        yield failed(
            f"the sign-in page redirects to {place}",
            "set SITE_URL and URL_PREFIX to the address in the browser; where nginx or a proxy redirects"
            " to https, remove SECURE_SSL_REDIRECT",
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
            f"another server answers for the site, with {answer.status}",
            "nginx must have no other default server for this address (rm /etc/nginx/sites-enabled/default)",
        )
    elif answer.status >= 500 or (answer.status != 200 and not is_foreign()):
        yield failed(f"the sign-in page gets {answer.status}", "see Gunicorn's log")
    elif front.origin.startswith("https:") and _takes_forms_without_tls(front, answer):
        yield failed(
            "Gunicorn does not know that visitors use https: it accepts forms of pages without TLS",
            f"$sluice_scheme of {_PLACE} must be https where a proxy in front does the TLS;"
            " SITE_URL must be https",
        )
    else:
        yield passed("Gunicorn serves them")


def _leads_to_the_site(front: Front, place: str) -> bool:
    """Whether a project's page redirects to another one of its own."""
    return is_foreign() and (place.startswith(f"{front.prefix}/") or place.startswith(f"{front.url}/"))


def _takes_forms_without_tls(front: Front, signing_in: Answer) -> bool:
    """Whether Django accepts a form with the origin http:// of the same name.

    It refuses that only if it knows that visitors use https. Other signs aren't reliable: HSTS is sent for
    port 443 only, and Secure cookies depend on SITE_URL.
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
        raise Skipped("there is no page: see front-pages")
    answer = front.ask(found[1].removeprefix(front.prefix))
    if answer.status != 200 or "css" not in answer.headers.get("content-type", ""):
        yield failed(
            f"{found[1]} gets {answer.status}",
            "run manage.py collectstatic and python -m sluice_stack.migrate; nginx reads $sluice_static of"
            f" {_PLACE}",
        )
    else:
        yield passed("nginx serves them")


def _ready(deployment: Deployment) -> Iterator[Finding]:
    front = front_of(deployment)
    answer = front.ask("/readyz")
    try:
        report: dict[str, Any] = json.loads(answer.body)
        parts = {name: report[name]["status"] for name in ("database", "publisher", "tasks")}
    except (ValueError, KeyError, TypeError):
        raise Skipped("/readyz has no report: see front-pages") from None
    down = [name for name, status in parts.items() if status == "down"]
    if "database" in down:
        yield failed("Gunicorn can't reach its database", "see database-reachable, and Gunicorn's log")
    elif down:
        yield warning(
            f"Gunicorn can't reach the broker for {' and '.join(down)}", "see broker-reachable, broker-login"
        )
    else:
        said = ", ".join(f"{name} {status}" for name, status in parts.items())
        yield passed(f"Gunicorn reports: {said}")


def _certificate(deployment: Deployment) -> Iterator[Finding]:
    front = front_of(deployment)
    if not front.address.name:
        raise Skipped(
            "plain HTTP here" if front.origin.startswith("http:") else "a proxy in front does the TLS"
        )
    if front.silent:
        raise Skipped("nginx does not answer: see front-answers")
    try:
        with front.address.connect(verify=True) as wire:
            ends = ssl.cert_time_to_seconds(str(wire.getpeercert()["notAfter"]))  # type: ignore[attr-defined]
    except ssl.SSLCertVerificationError as error:
        why = one_line(error.verify_message)
        if "expired" in why or "not yet valid" in why or "mismatch" in why:
            yield failed(
                f"browsers refuse the certificate: {why}", "renew ssl_certificate, for the name of SITE_URL"
            )
        else:
            yield warning(
                f"this machine does not trust the certificate: {why}",
                "use a certificate that visitors' browsers trust (ssl_certificate, with the intermediate"
                " ones): others open no WebSocket, and show no error",
            )
        return
    except OSError as error:
        yield failed(f"no TLS: {one_line(error)}", "see nginx's error log; snippets/sluice/tls.conf")
        return
    until = datetime.datetime.fromtimestamp(ends, datetime.UTC)
    if ends - time.time() < _DAYS_LEFT * 24 * 3600:
        yield warning(f"the certificate ends on {until:%Y-%m-%d}", "renew ssl_certificate")
    else:
        yield passed(f"trusted, until {until:%Y-%m-%d}")


CHECKS: Final = [
    Check("front-answers", "nginx answers where the site is", _answers),
    Check("front-certificate", "the certificate is trusted and lasts", _certificate),
    Check("front-name", "the site is served for its own name only", _name),
    Check("front-pages", "Gunicorn serves the pages, with the right prefix and scheme", _pages),
    Check("front-static", "nginx serves the static files", _static),
    Check("front-ready", "Gunicorn reaches what it needs", _ready),
]
