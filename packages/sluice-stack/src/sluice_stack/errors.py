"""How the site refuses a request: JSON for programs, a page for browsers."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, JsonResponse


def wants_json(request: HttpRequest) -> bool:
    """Whether to answer with JSON instead of a page.

    Browsers name text/html when they open a page; everything else gets JSON. A view that always answers with
    JSON sets `request.api`.
    """
    return getattr(request, "api", False) or "text/html" not in request.headers.get("Accept", "")


def error_response(status: int, detail: str, field: str = "", limit: Any = None) -> JsonResponse:
    """The one format of errors: {"error": {"field": …, "detail": …, "limit": …}}, without what is empty."""
    error = {"field": field, "detail": detail, "limit": limit}
    return JsonResponse(
        {"error": {name: value for name, value in error.items() if value not in ("", None)}}, status=status
    )
