"""Where the measurements by pytest write their tables."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from bench.about import about
from harness.evidence import RESULTS


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Rows of the markdown table, which is printed at the end and written to results/bench.md. They also
    replace those of the same name in results/bench.json.
    """
    rows: list[str] = []
    yield rows
    head = ["| what | p50 | p99 | worst | of | again with |", "| --- | ---: | ---: | ---: | ---: | --- |"]
    text = "\n".join([*head, *rows]) + "\n"
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "bench.md").write_text(text)
    _keep(rows)
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n\n{text}")


def _keep(rows: list[str]) -> None:
    file = RESULTS / "bench.json"
    data = json.loads(file.read_text()) if file.exists() else {}
    site = data.setdefault("site", {"rows": [], "images": {}})
    known = {row["what"]: row for row in site["rows"]}
    for row in rows:
        what, p50, p99, _, of, _ = (cell.strip() for cell in row.strip("|").split("|"))
        if what.startswith("image "):
            site["images"][what.removeprefix("image sluice-")] = p50
        else:
            known[what] = {"what": what, "p50": p50, "p99": p99, "of": of}
    site["rows"] = list(known.values())
    site["about"] = about(1)
    file.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n")
