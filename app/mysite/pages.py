"""What the site's pages have in common: the position in the updates that they carry, and how they refuse."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import get_script_prefix
from django.views.decorators.cache import never_cache

from updates import history, streams

from .api import error_response, wants_json

View = Callable[..., HttpResponse]


def live(view: View) -> View:
    """For a page that shows data which updates change: whoever asks must be signed in, and nothing caches it.

    The streams' positions are read before the view reads its data, so that nothing slips in between
    (PROTOCOL: Pages). The page's script goes on from them.
    """

    @never_cache
    @login_required
    @functools.wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        wanted = streams.default_streams(request.user.pk)
        heads = history.heads(wanted)
        request.positions = {stream: str(heads[stream].head) for stream in wanted}
        return view(request, *args, **kwargs)

    return wrapped


def page(request: HttpRequest) -> dict[str, Any]:
    """Context processor: what the page's script is told, in attributes of the body."""
    positions = getattr(request, "positions", None)
    return {
        "updates_positions": json.dumps(positions) if positions else "",
        "poll_seconds": settings.POLL_SECONDS,
        "site_root": get_script_prefix(),
    }


def home(request: HttpRequest) -> HttpResponse:
    """The site's root: the volumes."""
    return redirect("volumes")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A POST without the token of a page of ours, or from another site."""
    if wants_json(request):
        return error_response(
            403, f"{reason} Send the cookie csrftoken's value as X-CSRFToken.", "X-CSRFToken"
        )
    return render(request, "mysite/csrf_failure.html", {"reason": reason}, status=403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404, as JSON to who asks for it."""
    if wants_json(request):
        return error_response(404, "there is no such page")
    return render(request, "404.html", status=404)
