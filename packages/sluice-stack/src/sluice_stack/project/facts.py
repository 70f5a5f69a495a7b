"""Facts about a project's folder that are known without importing it. Standard library only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from sluice_stack.environment import Environment, rows

# NAME=VALUE lines of the project: settings of its own that are no secrets, for the build too.
VARIABLES: Final = "sluice.env"
_NAMED: Final = re.compile(r"""DJANGO_SETTINGS_MODULE['"]\s*(?:,|\]\s*=)\s*['"]([\w.]+)['"]""")
_QUOTED: Final = re.compile(r"""(['"])(.*)\1""")
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_]\w*)=(.*)", re.ASCII)


class Unfit(Exception):
    """The project can't run in the stack as it is. The text has the problem and the fix."""


def settings_module(folder: Path, wanted: str = "") -> str:
    """The settings that the site runs with: `wanted`, else those that its wsgi.py names, else manage.py's.

    manage.py may name others, for development. Raises Unfit.
    """
    if not (folder / "manage.py").is_file():
        raise Unfit("the folder SITE has no manage.py; name the folder of a Django project")
    managed = _named_in(folder / "manage.py")
    found = wanted or _named_in(folder / managed.partition(".")[0] / "wsgi.py") or managed
    if not found:
        raise Unfit(
            "manage.py names no settings module;"
            " set SITE_SETTINGS in .env to its name, such as mysite.settings"
        )
    path = folder.joinpath(*found.split("."))
    if not (path.with_name(f"{path.name}.py").is_file() or (path / "__init__.py").is_file()):
        there = f"{found.replace('.', '/')}.py"
        raise Unfit(
            f"there is no settings module {found} ({there}) in the project; correct SITE_SETTINGS in .env"
        )
    return found


def variables(folder: Path) -> dict[str, str]:
    """The NAME=VALUE lines of the project's sluice.env; none without that file. Raises Unfit."""
    path = folder / VARIABLES
    if not path.is_file():
        return {}
    values: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(line)
        if not match:
            raise Unfit(f"{VARIABLES} line {number} is malformed; it must be NAME=VALUE or a comment")
        quoted = _QUOTED.fullmatch(match[2])
        values[match[1]] = quoted[2] if quoted else match[2]
    if taken := sorted(values.keys() & rows(Environment).keys()):
        raise Unfit(f"{VARIABLES} sets {taken[0]}, which is a setting of the stack; remove that line")
    return values


def startup_line(settings: str, values: dict[str, str]) -> str:
    """The line of a .pth file with which every Python of the image has the settings and the variables.

    init gets the settings only: it refuses variables that are not the stack's.
    """
    chosen = f'{{}} if os.environ.get("SLUICE_SERVICE") == "init" else {values!r}'
    defaults = f'{{"DJANGO_SETTINGS_MODULE": {settings!r}, **({chosen})}}'
    return f"import os; [os.environ.get(n) or os.environ.update({{n: v}}) for n, v in {defaults}.items()]\n"


def _named_in(file: Path) -> str:
    try:
        found = _NAMED.search(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return ""
    return found[1] if found else ""
