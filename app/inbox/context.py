"""For templates: how many messages wait."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from .changes import unread_count


def unread(request: HttpRequest) -> dict[str, Any]:
    """Context processor: `unread`, on pages that go on counting (common.pages.live)."""
    return {"unread": unread_count(request.user)} if hasattr(request, "positions") else {}
