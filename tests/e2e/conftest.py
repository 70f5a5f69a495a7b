"""Fixtures for the end-to-end tests only."""

from __future__ import annotations

import pytest

from harness.stack import SERVICES


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    """Each long-running service."""
    name: str = request.param
    return name
