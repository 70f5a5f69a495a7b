"""What nginx asks before it shows Prometheus."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe


@require_safe
@never_cache
def access(request: HttpRequest) -> HttpResponse:
    """204 for users who may enter the admin site, else 403."""
    user: Any = request.user
    return HttpResponse(status=204 if user.is_active and getattr(user, "is_staff", False) else 403)
