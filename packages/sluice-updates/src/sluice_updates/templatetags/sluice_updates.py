"""The tag `{% sluice_updates %}`: what a page needs to follow its streams (sluice_updates.page)."""

from __future__ import annotations

from typing import Any

from django import template
from django.core.exceptions import ImproperlyConfigured
from django.utils.safestring import SafeString

from sluice_updates import page

register = template.Library()


@register.simple_tag(takes_context=True)
def sluice_updates(context: template.Context, *, poll_seconds: float | None = None) -> SafeString:
    """Print the page's positions and the script that continues from them: `{% sluice_updates %}`.

    Put it into the head or anywhere else on the page, once. The view must be decorated with
    sluice_updates.page.follows. `poll_seconds`: the time between two polls, if no other transport works.
    """
    request = context.get("request")
    if request is None:
        raise ImproperlyConfigured(
            "{% sluice_updates %} needs the request. Render the page with render(request, …), and put"
            " django.template.context_processors.request into the context_processors of TEMPLATES."
        )
    return page.script(request, nonce=_nonce(context), poll_seconds=poll_seconds)


def _nonce(context: Any) -> Any:
    """The nonce of a context processor: Django's, or that of django-csp."""
    return context.get("csp_nonce") or context.get("CSP_NONCE")
