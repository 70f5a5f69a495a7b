"""The page of faults is generated from the results that tests keep. A later run replaces an earlier one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from faults.outcome import FILE, Outcome
from faults.page import page


def keep(folder: Path, test: str, seconds: float) -> None:
    outcome = Outcome(test)
    outcome.describe("the service is killed", "None.")
    outcome.measured("back after", seconds)
    outcome.keep(folder)


def test_results_become_rows(tmp_path: Path) -> None:
    keep(tmp_path, "test_nginx.py::test_a", 9.0)
    keep(tmp_path, "test_nginx.py::test_a", 1.234)
    keep(tmp_path, "test_matrix.py::test_b[x-y]", 2.0)
    text = page(json.loads((tmp_path / FILE).read_text()))
    assert "| the service is killed | None. | back after: 1.2 | `test_a` |" in text
    assert text.index("`test_b[x-y]`") < text.index("## nginx") < text.index("`test_a`")


def test_the_maximum_is_kept() -> None:
    outcome = Outcome("test_nginx.py::test_a")
    for seconds in (1.0, 3.0, 2.0):
        outcome.measured("back after", seconds)
    assert outcome.seconds == {"back after": 3.0}


def test_a_test_without_a_description_keeps_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="doesn't say"):
        Outcome("test_nginx.py::test_a").keep(tmp_path)


def test_a_file_without_a_section_is_refused() -> None:
    with pytest.raises(ValueError, match=r"test_new\.py"):
        page({"test_new.py::test_a": {"fault": "", "notice": "", "seconds": {}}})
