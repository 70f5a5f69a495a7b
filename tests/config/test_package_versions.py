"""docs/reference/package-versions.md and packages/tox.ini cover all versions that the packages support."""

from __future__ import annotations

import configparser
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import versions  # noqa: E402

PAGE = (ROOT / "docs/reference/package-versions.md").read_text()
HEADING = ["Python", "Django", "PostgreSQL", "SQLite", "updates", "stack", "site", "failed", "run"]
TABLE = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.partition("| Python | Django |")[2].partition("\n\n")[0].splitlines()[2:]
]
ROWS = [dict(zip(HEADING, row, strict=True)) for row in TABLE]
POSTGRESQL = {"14", "15", "16", "17", "18"}


def project(package: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / f"packages/{package}/pyproject.toml").read_text())["project"]


def named(package: str, what: str) -> set[str]:
    return set(re.findall(rf"{what} :: (\d+\.\d+)", " ".join(project(package)["classifiers"])))


def minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def test_tox_has_every_version_that_the_packages_name() -> None:
    for package in ("sluice-updates", "sluice-stack"):
        assert {python for python, _ in versions.pairs()} == named(package, "Python")
        assert {django for _, django in versions.pairs()} == named(package, "Django")
        assert project(package)["dependencies"][0] == "Django>=5.2,<6.2"


def test_each_environment_has_one_postgresql_and_each_postgresql_two_environments() -> None:
    tox = configparser.ConfigParser(delimiters="=")
    assert tox.read(ROOT / "packages/tox.ini")
    given = re.findall(r"(py3\d+)-django(\d)(\d): SLUICE_POSTGRES = (\d+)", tox["testenv"]["set_env"])
    assert {(f"3.{python[3:]}", f"{major}.{minor}") for python, major, minor, _ in given} == versions.pairs()
    named = [version for *_, version in given]
    assert {version: named.count(version) for version in POSTGRESQL} == dict.fromkeys(POSTGRESQL, 2)
    assert ("14", "6", "1") not in {(version, *django) for _, *django, version in given}


def test_every_row_is_a_whole_suite_that_passed() -> None:
    assert {row["failed"] for row in ROWS} <= {"0"}
    for row in ROWS:
        assert int(row["updates"]) > 300 and int(row["stack"]) > 50 and int(row["site"]) > 200, row
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", row["run"])


def test_every_pair_has_been_run_or_is_named() -> None:
    run = {(minor(row["Python"]), minor(row["Django"])) for row in ROWS}
    words = " ".join(PAGE.partition(versions.NOT_RUN)[2].partition("\n\n")[0].split())
    left = set(re.findall(r"Python (3\.\d+) with Django (\d\.\d)", words))
    assert left == versions.pairs() - run
    assert left or words == "nothing."


def test_the_page_says_who_is_refused() -> None:
    assert "Django below 5.2" in PAGE and "updates can't be stored in mysql" in PAGE


def test_a_result_replaces_its_row_and_keeps_the_others(tmp_path: Path) -> None:
    page, result = tmp_path / "page.md", tmp_path / "py314-django61.json"
    head = "| a |\n|---|\n| Python | no |\n\n| Python | Django | x |\n|---|---|---|\n"
    old = "| 3.9.1 | 5.2.1 | 14.1 |\n| 3.14.0 | 6.1.0 | 18.0 |\n"
    page.write_text(f"{head}{old}\nNot run yet: Python 3.14 with Django\n6.1.\n\nAfter | 3.14.0 | it.\n")
    result.write_text(
        '{"python": "3.14.8", "django": "6.1.3", "postgresql": "18.1", "sqlite": "3.46.1", "updates": 4,'
        ' "stack": 3, "site": 2, "failed": 0, "run": "2026-11-30"}'
    )
    versions.table(str(page), str(result))
    new = "| 3.9.1 | 5.2.1 | 14.1 |\n| 3.14.8 | 6.1.3 | 18.1 | 3.46.1 | 4 | 3 | 2 | 0 | 2026-11-30 |\n"
    before, _, after = page.read_text().partition("\nNot run yet: ")
    assert before == f"{head}{new}"
    named, _, rest = after.partition("\n\n")
    assert "Python 3.11 with Django 5.2, Python 3.12" in " ".join(named.split())
    assert "Python 3.14 with Django 6.1" not in " ".join(named.split())
    assert rest == "After | 3.14.0 | it.\n"


def test_a_suite_that_did_not_end_is_a_failure(tmp_path: Path) -> None:
    assert versions._counts(tmp_path / "gone.xml") == (0, 1)
    file = tmp_path / "some.xml"
    file.write_text(
        '<testsuites><testsuite tests="10" failures="1" errors="2" skipped="3"></testsuite></testsuites>'
    )
    assert versions._counts(file) == (4, 3)
