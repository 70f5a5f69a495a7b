"""The site's JSON API: reading requests, and error responses.

An error is {"error": {"field": "box.x", "detail": "…", "limit": …}}. Field and limit are optional.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.utils.cache import add_never_cache_headers
from django.views.decorators.csrf import csrf_exempt, csrf_protect

from sluice_stack.errors import error_response

MAX_BODY_BYTES: Final = 64 * 1024
MAX_DEPTH: Final = 16

View = Callable[..., HttpResponse]


class ApiError(Exception):
    """An error response. A view with the decorator `api` may raise it."""

    def __init__(
        self, status: int, detail: str, field: str = "", limit: Any = None, *, allow: str = ""
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.field = field
        self.limit = limit
        self.allow = allow  # the header Allow of a 405

    def response(self) -> JsonResponse:
        response = error_response(self.status, self.detail, self.field, self.limit)
        if self.allow:
            response["Allow"] = self.allow
        return response


def bad_field(field: str, what: str, limit: Any = None) -> ApiError:
    """The error for an invalid field: 400 with the detail "<field> <what>"."""
    return ApiError(400, f"{field} {what}", field, limit)


def api(view: View) -> View:
    """Decorator for a view that returns JSON.

    The response is 401 without a session, 403 without the CSRF token, or the view's ApiError. The session is
    checked first: without one, a token protects nothing. Unless the view sets Cache-Control, nothing caches
    the response.
    """

    @functools.wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except ApiError as error:
            return error.response()

    protected = csrf_protect(answer)

    @csrf_exempt
    @functools.wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        request.api = True
        if request.user.is_authenticated:
            response = protected(request, *args, **kwargs)
        else:
            response = error_response(401, "the session's cookie is missing or has expired; sign in")
        if not response.has_header("Cache-Control"):
            add_never_cache_headers(response)
        return response

    return wrapped


def only_methods(request: HttpRequest, *allowed: str) -> None:
    """Raises ApiError (405) unless the request has one of these methods. HEAD counts as GET."""
    if request.method not in allowed and not (request.method == "HEAD" and "GET" in allowed):
        raise ApiError(
            405, f"this method is not allowed; use {' or '.join(allowed)}", allow=", ".join(allowed)
        )


def read_object(request: HttpRequest) -> dict[str, Any]:
    """The JSON object in the request's body. Raises ApiError (400, 413 or 415)."""
    if request.content_type != "application/json":
        raise ApiError(415, "the body must be JSON, with Content-Type: application/json", "Content-Type")
    try:
        too_long = int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY_BYTES
        body = b"" if too_long else request.body
    except (RequestDataTooBig, MultiPartParserError, ValueError):
        too_long, body = True, b""
    if too_long or len(body) > MAX_BODY_BYTES:
        raise ApiError(413, f"the body is longer than {MAX_BODY_BYTES} bytes", "body", MAX_BODY_BYTES)
    try:
        value = json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_constant)
    except UnicodeDecodeError:
        raise ApiError(400, "the body is not UTF-8", "body") from None
    except RecursionError:
        raise ApiError(400, "the body is nested too deeply", "body", MAX_DEPTH) from None
    except json.JSONDecodeError as error:
        raise ApiError(400, f"the body is not JSON: {error}", "body") from None
    except ValueError:  # Python's limit on digits
        raise ApiError(400, "the body has a number with thousands of digits", "body") from None
    if not isinstance(value, dict):
        raise ApiError(400, "the body must be a JSON object", "body")
    _check_depth(value)
    return value


def only_fields(value: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raises ApiError unless `value` has exactly the fields `known`."""
    for name in value:
        if name not in known:
            raise bad_field(shown(name), f"is not a field; the fields are {', '.join(known)}")
    for name in known:
        if name not in value:
            raise bad_field(name, "is missing")


def shown(text: str) -> str:
    """A client's text for an error message: cut and escaped."""
    return ascii(text)[1:-1][:80]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise bad_field(shown(twice), "is given twice")
    return value


def _constant(name: str) -> NoReturn:
    raise ApiError(400, f"the body is not JSON: {name} is not a number in JSON", "body")


def _check_depth(value: Any, depth: int = 1) -> None:
    if depth > MAX_DEPTH:
        raise ApiError(400, "the body is nested too deeply", "body", MAX_DEPTH)
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, depth + 1)
