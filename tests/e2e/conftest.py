"""Fixtures that only the end-to-end tests share."""

from __future__ import annotations

import pytest

from harness.stack import SERVICES


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    """Each long-running service in turn."""
    name: str = request.param
    return name
