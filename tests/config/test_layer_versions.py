"""docs/reference/layer-versions.md and tox.ini cover all versions that the layer supports."""

import configparser
import datetime
import re
import tomllib
from pathlib import Path

import pytest

from sluice_layer.errors import OLDEST_RABBITMQ

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/layer-versions.md").read_text()
PACKAGE = tomllib.loads((ROOT / "packages/sluice-layer/pyproject.toml").read_text())["project"]
HEADING = ["Python", "Channels", "Django", "RabbitMQ", "passed", "failed"]
TABLE = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ")
]
ROWS = [dict(zip(HEADING, row, strict=True)) for row in TABLE[1:]]
NOT_RUN = PAGE.partition("\nNot run:")[2]


def minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def test_it_has_its_date_and_names_what_was_not_run() -> None:
    written = re.search(r"Last full run: (\d{4}-\d\d-\d\d)\.", PAGE)
    assert written and datetime.date.fromisoformat(written[1])
    assert TABLE[0] == HEADING
    assert NOT_RUN.strip() == "nothing." or re.fullmatch(r"\n(\n- \S.+\.)+\n", NOT_RUN)


def test_every_row_is_a_whole_suite_that_passed() -> None:
    assert ROWS and {row["failed"] for row in ROWS} == {"0"}
    assert all(int(row["passed"]) > 100 for row in ROWS)


@pytest.mark.parametrize("channels", ["3", "4"])
def test_every_python_of_the_package_is_tested_or_named_as_untested(channels: str) -> None:
    named = set(re.findall(r"Python :: (3\.\d+)", " ".join(PACKAGE["classifiers"])))
    run = {minor(row["Python"]) for row in ROWS if row["Channels"].startswith(f"{channels}.")}
    assert run | set(re.findall(rf"Python (3\.\d+)(?:: | with Channels {channels} )", NOT_RUN)) == named


def test_the_oldest_rabbitmq_is_tested_or_named_as_untested() -> None:
    oldest = ".".join(map(str, OLDEST_RABBITMQ))
    versions = {tuple(map(int, minor(row["RabbitMQ"]).split("."))) for row in ROWS}
    assert min(versions) == OLDEST_RABBITMQ or f"RabbitMQ {oldest}." in NOT_RUN or "suite bullseye" in NOT_RUN
    assert min(versions) >= OLDEST_RABBITMQ
    assert f"refuses RabbitMQ below {oldest} " in " ".join(PAGE.split())


def test_tox_runs_every_python_that_the_package_names() -> None:
    tox = configparser.ConfigParser()
    assert tox.read(ROOT / "packages/sluice-layer/tox.ini")
    named = re.findall(r"Python :: 3\.(\d+)", " ".join(PACKAGE["classifiers"]))
    assert tox["tox"]["env_list"] == f"py{{{','.join(f'3{minor}' for minor in named)}}}-channels{{3,4}}"
