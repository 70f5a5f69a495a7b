"""All paths and selections in .ci/run exist. CI would silently skip tests under a wrong name."""

from __future__ import annotations

import re
import sys

from harness.compose import SOURCE

sys.path.insert(0, str(SOURCE / "scripts"))

from versions import environments

SCRIPT = (SOURCE / ".ci/run").read_text()


def test_each_long_suite_is_a_target_of_the_makefile() -> None:
    (listed,) = re.findall(r"^readonly long_suites=\((.*?)\)$", SCRIPT, re.MULTILINE | re.DOTALL)
    targets = {word.strip('"').partition(":")[0] for word in re.findall(r'"[^"]*"|[a-z-]+', listed)}
    assert {"layer", "faults", "bare-metal"} <= targets
    assert targets <= set(re.findall(r"^([a-z-]+):", (SOURCE / "Makefile").read_text(), re.MULTILINE))


def test_each_part_of_a_suite_consists_of_existing_files() -> None:
    named = set(re.findall(r"\btest_\w+", SCRIPT))
    assert named
    assert named <= {file.stem for file in (SOURCE / "tests").rglob("test_*.py")}


def test_all_environments_of_the_packages_are_in_the_rotation() -> None:
    listed = re.findall(r'"package-versions:([^"]+)"', SCRIPT)
    assert sorted(" ".join(listed).split()) == sorted(environments())
