"""Fixtures that only the end-to-end tests share."""

from __future__ import annotations

import pytest

from harness.stack import SERVICES, Stack


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    """Each long-running service in turn."""
    name: str = request.param
    return name


@pytest.fixture
def healed(fresh: Stack) -> Stack:
    """The module's own stack, every service in place and healthy, whatever the test before did to it."""
    fresh.up(options=("--no-recreate",))
    return fresh
