"""Fixtures for pytest-django. pytest loads this module in every project where the package is installed.

So it imports nothing of Django before a test requests a fixture.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .testing import FakeClient, Published


@pytest.fixture
def published_updates(db: None) -> Callable[[], list[Published]]:
    """A function that returns the updates that the test has published so far."""
    from .testing.capture import published

    return published


@pytest.fixture
def updates_client(db: None) -> Callable[..., FakeClient]:
    """A function that opens a page's client: `updates_client(user, streams, since)`."""
    from .testing import FakeClient

    def open_client(user: Any, *arguments: Any, **keywords: Any) -> FakeClient:
        return FakeClient(user, *arguments, **keywords)

    return open_client
