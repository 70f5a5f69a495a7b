"""Middleware for sites in the stack. Each class does one thing. A project lists those that it wants."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from django.conf import settings
from django.core.exceptions import MiddlewareNotUsed
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.template import TemplateDoesNotExist
from django.template.loader import get_template

from .challenge import ASKED, SIGNED, signature
from .errors import error_response, wants_json
from .health import views as health
from .monitoring.views import access

logger = logging.getLogger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponseBase]

# Scripts, styles, images and requests come from the site only. Nothing is inline or in a frame. 'self'
# includes a WebSocket to the same host.
# https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Content-Security-Policy
POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)


class ExposeBackend:
    """Adds `X-Backend: wsgi` to each response, if the setting SLUICE_STACK_EXPOSE_BACKEND is true."""

    def __init__(self, get_response: GetResponse) -> None:
        if not getattr(settings, "SLUICE_STACK_EXPOSE_BACKEND", False):
            raise MiddlewareNotUsed
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response["X-Backend"] = "wsgi"
        return response


class Challenge:
    """Signs the challenge of the doctor, which so recognises the site (challenge.py)."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if challenge := request.headers.get(ASKED):
            response[SIGNED] = signature(challenge)
        return response


class Head:
    """Removes the body of a response to HEAD, for which Gunicorn logs a warning. Content-Length stays."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if request.method == "HEAD":
            if isinstance(response, StreamingHttpResponse):
                response.streaming_content = ()
            elif isinstance(response, HttpResponse) and response.content:
                response.setdefault("Content-Length", str(len(response.content)))
                response.content = b""
        return response


class Health:
    """Answers /healthz and /readyz before any other middleware checks the Host or reads a session.

    So a health check may use any name of this machine.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        view = health.VIEWS.get(request.path_info)
        if view is None:
            return self.get_response(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponse(status=405, headers={"Allow": "GET, HEAD"})
        return view()


class DatabaseDown:
    """Answers 503 when the database fails in a view, and logs one line instead of a traceback."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, OperationalError | InterfaceError):
            return None
        logger.warning("%s %s: %s", request.method, request.path, " ".join(str(exception).split()))
        if wants_json(request):
            response: HttpResponse = error_response(
                503, "the database can't be reached at the moment; try again"
            )
        else:
            response = HttpResponse(_unavailable_page(), status=503)
        response["Retry-After"] = "5"
        return response


def _unavailable_page() -> str:
    try:
        return str(get_template("503.html").render())
    except TemplateDoesNotExist:  # the project's engines don't look into apps
        return "The database can't be reached at the moment. Please try again.\n"


class MonitoringAccess:
    """Answers what nginx asks before it shows Prometheus, for a project without the URL for it.

    It comes last, since it needs the user.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return (access if request.path_info == "/monitoring/access/" else self.get_response)(request)


class ContentSecurityPolicy:
    """Adds POLICY to each response without a policy."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        # Django's error pages for development have inline scripts.
        if not (settings.DEBUG and response.status_code in (404, 500)):
            response.setdefault("Content-Security-Policy", POLICY)
        return response
