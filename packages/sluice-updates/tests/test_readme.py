"""The README's tables of settings and checks are complete."""

from __future__ import annotations

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
README = (PACKAGE / "README.md").read_text("utf-8")
SOURCE = PACKAGE / "src/sluice_updates"


def first_cells(heading: str) -> list[str]:
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE)[1:]


def test_settings() -> None:
    read = re.findall(r'settings, "(SLUICE_UPDATES_\w+)"', (SOURCE / "conf.py").read_text("utf-8"))
    assert {cell.strip("`") for cell in first_cells("Settings")} == set(read)


def test_only_conf_reads_them() -> None:
    readers = {
        path.name
        for path in SOURCE.rglob("*.py")
        if re.search(r"settings(\.|, \")SLUICE_UPDATES_", path.read_text("utf-8"))
    }
    assert readers == {"conf.py"}


def test_checks() -> None:
    sources = [path.read_text("utf-8") for path in (SOURCE / "checks").glob("*.py")]
    ids = {found for text in sources for found in re.findall(r'id="sluice_updates\.([EW]\d{3})"', text)}
    assert {found for cell in first_cells("Checks") for found in cell.split(", ")} == ids
