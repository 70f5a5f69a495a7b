"""The harness's pytest fixtures: stacks, and evidence on failure. tests/conftest.py loads them."""

from __future__ import annotations

import datetime
import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

from . import evidence
from .engine import sweep
from .images import ensure_images
from .stack import LIVE, Stack

if TYPE_CHECKING:
    from .chromium import Chromium, Windows

_STARTED = pytest.StashKey[datetime.datetime]()
_TEST_DEADLINE = 300  # seconds without fixtures; pytest then reports where the test hangs


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--keep",
        action="store_true",
        help="leave the stacks of this run standing (make e2e: SLUICE_KEEP=yes)",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--keep"):
        os.environ["SLUICE_KEEP"] = "yes"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "image_tag" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_TEST_DEADLINE, func_only=True))


@pytest.fixture(scope="session")
def image_tag(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build the images under test. Remove what dead runs left now, and what this run makes at its end."""
    sweep(own=True)
    yield ensure_images(tmp_path_factory.mktemp("build"))
    if os.environ.get("SLUICE_KEEP") != "yes":
        sweep(own=True)


@pytest.fixture(scope="session", params=["", "/catmaid"], ids=["at /", "at /catmaid"])
def site(request: pytest.FixtureRequest, image_tag: str) -> Iterator[Stack]:
    """A stack for tests that only read, once at the root and once below a prefix, with two ASGI prefixes."""
    below = {"URL_PREFIX": request.param, "ASGI_PREFIXES": "/channels/ /ws/"}
    with Stack(image_tag, below if request.param else {}) as stack:
        yield stack


@pytest.fixture(scope="session")
def stack(image_tag: str) -> Iterator[Stack]:
    """A stack for tests that only read. Its limit on crops is low enough for the sample volume to exceed
    it.
    """
    with Stack(image_tag, {"CROP_MAX_VOXELS": "1000000"}) as stack:
        yield stack


@pytest.fixture(scope="module")
def fresh(image_tag: str) -> Iterator[Stack]:
    """A stack of the module's own, for tests that break things and repair them."""
    with Stack(image_tag) as stack:
        yield stack


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """A browser, for tests in the image of `make browser`."""
    from .chromium import Chromium  # only the browser image has Playwright

    with Chromium() as chromium:
        yield chromium


@pytest.fixture
def windows(chromium: Chromium) -> Iterator[Windows]:
    """This test's windows. An unexpected console message fails the test."""
    from .chromium import Windows

    with Windows(chromium).judged() as windows:
        yield windows


@pytest.fixture
def healed(fresh: Stack) -> Stack:
    """The module's own stack, with every service healthy again after the previous test's faults."""
    fresh.mend()
    return fresh


@pytest.fixture(autouse=True)
def _moment(request: pytest.FixtureRequest) -> None:
    request.node.stash[_STARTED] = datetime.datetime.now(datetime.UTC)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and report.when != "teardown":
        since = item.stash.get(_STARTED, datetime.datetime.now(datetime.UTC))
        used = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Stack)]
        for stack in used or list(LIVE):
            for title, text in evidence.gather(stack, since):
                evidence.write(item.name, stack, title, text)
                if text.strip() and evidence.worth_showing(title):
                    report.sections.append((f"{stack.name}: {title}", evidence.shorten(text)))
            whole = "logs, health, the live nginx configuration, queues and bindings, database connections"
            report.sections.append((f"{stack.name}: whole", f"{whole}: {evidence.folder(item.name, stack)}"))
    return report
