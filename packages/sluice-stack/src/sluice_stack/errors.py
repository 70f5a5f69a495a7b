"""Error responses: JSON for programs, a page for browsers."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, JsonResponse


def wants_json(request: HttpRequest) -> bool:
    """Whether to respond with JSON instead of a page.

    A browser that opens a page accepts text/html. Every other client gets JSON. A view that always responds
    with JSON sets `request.api`.
    """
    return getattr(request, "api", False) or "text/html" not in request.headers.get("Accept", "")


def error_response(status: int, detail: str, field: str = "", limit: Any = None) -> JsonResponse:
    """The format of all errors: {"error": {"field": …, "detail": …, "limit": …}}, without empty parts."""
    error = {"field": field, "detail": detail, "limit": limit}
    return JsonResponse(
        {"error": {name: value for name, value in error.items() if value not in ("", None)}}, status=status
    )
