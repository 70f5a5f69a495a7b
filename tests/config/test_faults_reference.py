"""docs/reference/faults.md names every test of the fault suite, and no others."""

from __future__ import annotations

import re
import subprocess
import sys

from config.host_shell import SOURCE

PAGE = (SOURCE / "docs/reference/faults.md").read_text()


def test_the_page_names_exactly_the_existing_tests() -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "--quiet",
        "-p",
        "no:cacheprovider",
        "tests/faults",
    ]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, check=True)
    tests = {line for line in done.stdout.splitlines() if line.startswith("tests/faults/")}
    named = {
        f"tests/faults/{file}::{test}"
        for file, rows in re.findall(r"^`tests/faults/(\w+\.py)`\n((?:.+\n|\n(?!#))*)", PAGE, re.M)
        for test in re.findall(r"\| `([^`|]+)` \|$", rows, re.M)
    }
    assert len(tests) > 50
    assert named == tests, f"not on the page: {sorted(tests - named)}; no such test: {sorted(named - tests)}"


def test_every_row_says_what_users_notice() -> None:
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.endswith("` |")]
    assert rows
    for fault, notice, seconds, _ in rows:
        assert fault.removeprefix("| ").strip() and notice.strip().endswith("."), fault
        assert not seconds.strip() or re.search(r": [\d.]+", seconds), fault
