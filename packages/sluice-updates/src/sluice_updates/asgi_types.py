"""ASGI's types, and the headers of a request. https://asgi.readthedocs.io/en/latest/specs/"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Scope = Mapping[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]


def headers(scope: Scope, name: bytes) -> list[str]:
    """The values of a request header, in order. `name` is in lower case."""
    return [value.decode("latin-1").strip() for key, value in scope["headers"] if key == name]
