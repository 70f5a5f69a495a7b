"""One site and one server for all tests that only read. Other tests start servers of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from updates_lab.site import Person, Served, Site, running


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that start a server: its start, health checks and drain take seconds."""
    for item in items:
        if "serve" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site on SQLite."""
    site = Site(f"sqlite://{tmp_path_factory.mktemp('hub')}/site.sqlite3")
    try:
        site.migrate()
        yield site
    finally:
        site.close()


@pytest.fixture(scope="session")
def served(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that many tests share. No test may disturb the others."""
    log = tmp_path_factory.mktemp("served") / "server.log"
    with running(
        site, log, HUBSITE_LIMITS='{"POLL_SECONDS": 0.2, "COMPARE_SECONDS": 1, "STUCK_SECONDS": 1}'
    ) as served:
        yield served
        assert served.stop() == 0
        assert "Traceback" not in served.text(), served.text()


@pytest.fixture
def serve(site: Site, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts servers for one test: `serve(HUBSITE_LAYER="none")`."""
    with ExitStack() as stack:

        def start(*command: str, on: Site = site, **variables: str) -> Served:
            return stack.enter_context(running(on, tmp_path / "server.log", *command, **variables))

        yield start


@pytest.fixture
def person(site: Site) -> Person:
    """A new user with a session."""
    return site.person()
