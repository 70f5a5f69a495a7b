"""Daphne's application: the one that the project's setting ASGI_APPLICATION names.

For a project that calls `sluice_stack.project.configure`: the updates, and the consumers of the project's own
application (sluice_stack.project.sockets).
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from .startup import set_up


def _application() -> Any:
    own = getattr(settings, "SLUICE_STACK_ASGI_APPLICATION", None)
    if own is None:  # the settings are written for the stack
        return import_string(settings.ASGI_APPLICATION)
    from .project.sockets import adopt

    return adopt(import_string(own) if own else None)


set_up("asgi")

application = _application()
