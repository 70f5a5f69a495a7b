"""Finds the files of modules, without importing them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

from .source import Source, Uneditable, assigned, flattened, mentions


class Modules:
    """The modules below some folders, those of `sys.path`."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._folders = [Path(folder).absolute() for folder in folders]

    def find(self, name: str) -> Path | None:
        """The module's file, by the path at which Python imports it, or None."""
        for folder in self._folders:
            path = folder.joinpath(*name.split("."))
            for file in (path / "__init__.py", path.with_name(path.name + ".py")):
                if file.is_file():
                    return file
        return None

    def origin(self, module: str, name: str) -> Path | None:
        """The file of the module in which the `name` of this one is assigned: itself, or one that it imports.

        An assignment that uses the name (`NAME = base.NAME + [...]`) only changes it.
        """
        return self._origin(module, name, set())

    def _origin(self, module: str, name: str, seen: set[str]) -> Path | None:
        if module in seen or (path := self.find(module)) is None:
            return None
        seen.add(module)
        try:
            body = Source.read(path).tree.body
        except (OSError, Uneditable):
            return None
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        imported: list[str] = []  # as modules: `from . import base`
        for statement in reversed(list(flattened(body))):
            value = assigned(statement, name)
            if value is not None and not mentions(value, name):
                return path
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                brings, others = _imports(statement, name, package)
                imported += others
                for other in brings:
                    if found := self._origin(other, name, seen):
                        return found
        for other in imported:
            if found := self._origin(other, name, seen):
                return found
        return None


def _imports(statement: ast.Import | ast.ImportFrom, name: str, package: str) -> tuple[list[str], list[str]]:
    """The modules from which the statement imports the name, and those that it imports as modules."""
    if isinstance(statement, ast.Import):
        return [], [alias.name for alias in statement.names]
    parts = package.split(".") if statement.level else []
    parts = parts[: len(parts) - (statement.level - 1)] if statement.level else parts
    module = ".".join([*parts, *([statement.module] if statement.module else [])])
    names = [alias.name for alias in statement.names]
    if name in names or "*" in names:
        return [module], []
    return [], [f"{module}.{each}" for each in names]


def marked_files(folder: Path) -> Iterator[Source]:
    """The Python files below the folder with lines that `sluice_init` wrote."""
    for path in python_files(folder):
        try:
            source = Source.read(path)
            if source.is_marked:
                yield source
        except (OSError, Uneditable):
            continue


def python_files(folder: Path, *suffixes: str) -> Iterator[Path]:
    """The project's own files: none of virtual environments, of npm's packages, or in hidden folders."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            if not (
                path.name.startswith(".") or path.name == "node_modules" or (path / "pyvenv.cfg").exists()
            ):
                yield from python_files(path, *suffixes)
        elif path.suffix in (suffixes or (".py",)):
            yield path
