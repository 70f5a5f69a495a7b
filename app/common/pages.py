"""Shared by the site's pages: the decorators `shows_errors` and `button`, and the pages for errors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import messages as flash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import get_script_prefix, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_safe

from sluice_stack.errors import error_response, wants_json
from sluice_updates.page import follows

from .api import ApiError, api, only_methods
from .paging import place_of

View = Callable[..., HttpResponse]


def shows_errors(view: View) -> View:
    """Decorator for a page. If the view raises ApiError, the page shows its message."""

    @functools.wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except ApiError as error:
            return render(request, "common/refused.html", {"why": _sentence(error)}, status=error.status)

    return wrapped


def button(page: str) -> Callable[[Callable[..., dict[str, Any]]], View]:
    """Decorator for a POST from a button on `page`, or from a program.

    A browser is redirected back to the page, on which a message shows an ApiError. After a button on a page
    of older rows, it is redirected to that page (`?before=`). A program gets the object that the view
    returns, as JSON, or the ApiError.
    """

    def decorate(view: Callable[..., dict[str, Any]]) -> View:
        @api
        @functools.wraps(view)
        def as_json(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            only_methods(request, "POST")
            return JsonResponse(view(request, *args, **kwargs))

        @never_cache
        @csrf_protect
        @functools.wraps(view)
        def as_page(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if not request.user.is_authenticated:
                return redirect_to_login(reverse(page))
            try:
                only_methods(request, "POST")
                view(request, *args, **kwargs)
            except ApiError as error:
                flash.error(request, _sentence(error))
            return redirect(reverse(page) + place_of(request))

        @csrf_exempt
        @functools.wraps(view)
        def either(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            return (as_json if wants_json(request) else as_page)(request, *args, **kwargs)

        return either

    return decorate


def _sentence(error: ApiError) -> str:
    return f"{error.detail[:1].upper()}{error.detail[1:]}."


def page(request: HttpRequest) -> dict[str, Any]:
    """Context processor: the values for every page."""
    return {"poll_seconds": settings.POLL_SECONDS, "site_root": get_script_prefix()}


def home(request: HttpRequest) -> HttpResponse:
    """The site's root: redirects to the volumes."""
    return redirect("volumes")


@require_safe
@login_required
@follows()
def connection(request: HttpRequest) -> HttpResponse:
    """The page on how updates reach this browser, and what fails. For users and operators."""
    return render(request, "common/connection.html")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403 for a POST without the CSRF token of this site's pages, or from another site."""
    if wants_json(request):
        return error_response(
            403, f"{reason} Send the cookie csrftoken's value as X-CSRFToken.", "X-CSRFToken"
        )
    return render(request, "common/csrf_failure.html", {"reason": reason}, status=403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404, as a page or as JSON."""
    if wants_json(request):
        return error_response(404, "there is no such page")
    return render(request, "404.html", status=404)
