"""Fixtures of the fault suite."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from faults.outcome import Outcome
from faults.trial import warm_up
from harness.baseline import Baseline
from harness.stack import Stack

PASSED = pytest.StashKey[bool]()


@pytest.fixture
def pair(image_tag: str) -> Iterator[Stack]:
    """A stack of the test's own, with two Daphnes."""
    with Stack(image_tag) as stack:
        two_daphnes(stack)
        yield stack


@pytest.fixture(scope="session")
def standing(image_tag: str) -> Iterator[Stack]:
    """A stack with two Daphnes for many faults, one after the other. Each test repairs what it broke."""
    with Stack(image_tag) as stack:
        two_daphnes(stack)
        yield stack


@pytest.fixture(scope="session")
def warm(standing: Stack) -> Baseline:
    """The stack's idle resources before the first fault. They must be the same after each fault."""
    warm_up(standing)
    return Baseline.take(standing)


@pytest.fixture
def baseline(standing: Stack, warm: Baseline) -> Baseline:
    """The same baseline, for a test that starts with every service healthy."""
    for name in standing.services:
        standing.service(name).wait_healthy()
    return warm


@pytest.fixture
def outcome(request: pytest.FixtureRequest) -> Iterator[Outcome]:
    """The result of this test. It is kept if the test passes."""
    outcome = Outcome(request.node.nodeid.removeprefix("tests/faults/"))
    yield outcome
    if request.node.stash.get(PASSED, False):
        outcome.keep()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


def two_daphnes(stack: Stack) -> None:
    """Add a second Daphne."""
    stack.up("asgi", scale={"asgi": 2}, options=("--no-recreate", "--no-deps"))
