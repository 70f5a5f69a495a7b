"""Context processor: the number of unread messages."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from .changes import unread_count


def unread(request: HttpRequest) -> dict[str, Any]:
    """`unread`, on pages that keep the number up to date (common/live.js)."""
    return {"unread": unread_count(request.user)} if hasattr(request, "sluice_updates") else {}
