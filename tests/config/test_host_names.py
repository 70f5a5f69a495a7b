"""make's commands and the parts that they source share one shell, and therefore one namespace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.compose import SOURCE

FOLDER = SOURCE / "scripts"
PARTS = sorted(FOLDER.glob("*/*.sh"))
COMMANDS = sorted(
    path
    for path in FOLDER.iterdir()
    if path.is_file() and "prepare.sh" in path.read_text() and path not in PARTS
)


def names(keyword: str, path: Path) -> set[str]:
    """The names declared by `readonly` outside of functions, or by `local`."""
    found: set[str] = set()
    for line in re.findall(rf"^{keyword} (.*)$", path.read_text(), re.MULTILINE):
        bare = re.sub(r"\([^)]*\)|\"[^\"]*\"|'[^']*'|\$\S*|#.*", "", line)
        found |= {word.partition("=")[0] for word in bare.split() if not word.startswith("-")}
    return found


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: path.name)
def test_no_function_has_a_variable_that_the_shell_has_made_readonly(command: Path) -> None:
    """Bash aborts such a function and its command, and only on machines that reach it."""
    files = [command, *PARTS]
    fixed = set().union(*(names("readonly", file) for file in files))
    assert fixed
    assert not {(file.name, name) for file in files for name in names(r" +local", file) & fixed}
