"""The results of `make package-versions`: a file for each environment of packages/tox.ini, then the table.

row ENVIRONMENT JUNIT_FOLDER RESULTS: writes what an environment's tests found, and its versions.
refused ENVIRONMENT RESULTS: checks that this Django is refused with a sentence, and writes it.
table PAGE RESULT...: replaces the rows of these environments in the page, and names those that have none.
"""

from __future__ import annotations

import configparser
import datetime
import itertools
import json
import os
import platform
import re
import sqlite3
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

SUITES = ("updates", "stack", "site")
TOX = Path(__file__).parents[1] / "packages/tox.ini"
REFUSED = "django42"
NOT_RUN = "\nNot run yet: "
ROW = re.compile(r"^\| (3\.\d+)\.\S+ \| (\d+\.\d+)\S* \|.*\n", re.MULTILINE)


def row(environment: str, folder: str, results: str) -> None:
    import django

    found: dict[str, Any] = {
        "python": platform.python_version(),
        "django": django.get_version(),
        "postgresql": _postgresql(os.environ["SLUICE_POSTGRES"]),
        "sqlite": sqlite3.sqlite_version,
        "failed": 0,
        "run": datetime.date.today().isoformat(),
    }
    for suite in SUITES:
        passed, failed = _counts(Path(folder) / f"{suite}.xml")
        found[suite] = passed
        found["failed"] += failed
    _write(environment, results, found)


def refused(environment: str, results: str) -> None:
    import django
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    settings.configure(
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "sluice_updates"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    )
    try:
        django.setup()
    except ImproperlyConfigured as error:
        sentence = str(error)
    else:
        sys.exit(f"Django {django.get_version()} was not refused")
    try:
        import sluice_stack.settings  # noqa: F401
    except ImproperlyConfigured as error:
        sentences = (sentence, str(error))
    else:
        sys.exit(f"sluice_stack did not refuse Django {django.get_version()}")
    for package, words in zip(("sluice_updates", "sluice_stack"), sentences, strict=True):
        if not words.startswith(f"{package} needs Django ") or django.get_version() not in words:
            sys.exit(f"{package} refused Django {django.get_version()} with {words!r}")
    _write(environment, results, {"django": django.get_version(), "refused": sentence})


def table(page: str, *files: str) -> None:
    text = Path(page).read_text("utf-8")
    rows = {(match[1], match[2]): match[0] for match in ROW.finditer(text)}
    for file in files:
        found = json.loads(Path(file).read_text("utf-8"))
        if "refused" in found:
            continue
        cells = ("python", "django", "postgresql", "sqlite", *SUITES, "failed", "run")
        line = "| " + " | ".join(str(found[cell]) for cell in cells) + " |\n"
        rows[_minor(found["python"]), _minor(found["django"])] = line
    start = re.search(r"^\| Python \| Django \|.*\n\|[-|]+\n", text, re.MULTILINE)
    if start is None:
        sys.exit(f"{page} has no table")
    new = "".join(rows[key] for key in sorted(rows, key=_order))
    left = sorted(pairs() - rows.keys(), key=_order)
    names = ", ".join(f"Python {python} with Django {django}" for python, django in left) or "nothing"
    before, after = text[: start.end()] + new, ROW.sub("", text[start.end() :])
    after = re.sub(rf"{NOT_RUN}[^\n]*\n(?:\S[^\n]*\n)*", "", after)
    told = textwrap.fill(f"{NOT_RUN.strip()} {names}.", 100, break_long_words=False)
    Path(page).write_text(f"{before}\n{told}\n{after}", "utf-8")


def environments(file: Path = TOX) -> list[str]:
    """tox's environments."""
    tox = configparser.ConfigParser(delimiters="=")
    assert tox.read(file)
    found = []
    for name in re.split(r",\s*(?![^{]*\})", tox["tox"]["env_list"]):
        options = [part.split(",") for part in re.findall(r"\{([^}]*)\}", name)]
        template = re.sub(r"\{[^}]*\}", "{}", name)
        found += [template.format(*chosen) for chosen in itertools.product(*options)]
    return found


def pairs() -> set[tuple[str, str]]:
    """Python and Django of these environments, without that of the Django that is refused."""
    names = [name for name in environments() if not name.endswith(REFUSED)]
    return {(f"3.{name[3:5]}", f"{name[-2]}.{name[-1]}") for name in names}


def _counts(file: Path) -> tuple[int, int]:
    """The tests that passed and that failed; a suite that did not end counts as one failure."""
    if not file.exists():
        return 0, 1
    (suite,) = ElementTree.parse(file).getroot().iter("testsuite")
    tests, failures, errors, skipped = (
        int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")
    )
    return tests - failures - errors - skipped, failures + errors


def _postgresql(version: str) -> str:
    program = f"/usr/lib/postgresql/{version}/bin/postgres"
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return said.split()[2]


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _order(pair: tuple[str, str]) -> list[list[int]]:
    return [[int(part) for part in version.split(".")] for version in pair]


def _write(environment: str, results: str, found: dict[str, Any]) -> None:
    Path(results).mkdir(parents=True, exist_ok=True)
    (Path(results) / f"{environment}.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    {"row": row, "refused": refused, "table": table}[sys.argv[1]](*sys.argv[2:])
