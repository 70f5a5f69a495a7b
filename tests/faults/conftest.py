"""Fixtures that the fault suite shares."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from faults.outcome import Outcome
from faults.trial import warm_up
from harness.baseline import Baseline
from harness.stack import SERVICES, Stack

PASSED = pytest.StashKey[bool]()


@pytest.fixture
def pair(image_tag: str) -> Iterator[Stack]:
    """A stack of the test's own, with two Daphnes."""
    with Stack(image_tag) as stack:
        two_daphnes(stack)
        yield stack


@pytest.fixture(scope="session")
def standing(image_tag: str) -> Iterator[Stack]:
    """A stack with two Daphnes that many faults strike, one after the other; each mends what it broke."""
    with Stack(image_tag) as stack:
        two_daphnes(stack)
        yield stack


@pytest.fixture(scope="session")
def warm(standing: Stack) -> Baseline:
    """What that stack holds when nobody is there, before the first fault: the same must do after each."""
    warm_up(standing)
    return Baseline.take(standing)


@pytest.fixture
def baseline(standing: Stack, warm: Baseline) -> Baseline:
    """The same, for one test, which begins with every service in its place and healthy."""
    for name in SERVICES:
        standing.service(name).wait_healthy()
    return warm


@pytest.fixture
def outcome(request: pytest.FixtureRequest) -> Iterator[Outcome]:
    """What this test finds; kept if it passes."""
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
    """Add a second one."""
    stack.up("asgi", scale={"asgi": 2}, options=("--no-recreate", "--no-deps"))
