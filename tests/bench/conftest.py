"""Where the measurements write their tables."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.evidence import RESULTS


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Rows of the markdown table, which is printed at the end and written to results/bench.md."""
    rows: list[str] = []
    yield rows
    head = ["| what | p50 | p99 | worst | of | again with |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    text = "\n".join([*head, *rows]) + "\n"
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "bench.md").write_text(text)
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n\n{text}")
