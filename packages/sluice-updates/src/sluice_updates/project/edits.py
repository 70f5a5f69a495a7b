"""The lines that a project needs, and where they go."""

from __future__ import annotations

import ast
from contextlib import suppress
from pathlib import Path
from typing import Final

from .examine import Finding
from .modules import Modules, marked_files
from .source import MARK, Source, Uneditable, assigned, flattened

APP: Final = 'INSTALLED_APPS = [*INSTALLED_APPS, "sluice_updates"]'
STACK: Final = ("from sluice_stack.project import configure  # noqa: E402", "configure(globals())")


class ByHand(Exception):
    """A file can't be edited safely. The text is the reason, and the line to write by hand."""


class Draft:
    """The project's files with the edits so far."""

    def __init__(self, finding: Finding, manage: Path | None) -> None:
        self.finding = finding
        self._manage = manage
        self._modules = Modules(finding.path)
        self._before: dict[Path, bytes] = {}
        self._sources: dict[Path, Source] = {}

    @property
    def changes(self) -> dict[Path, tuple[bytes, bytes]]:
        """The bytes of each edited file, (before, after)."""
        return {path: (data, self._sources[path].data) for path, data in self._before.items()}

    def add_app(self) -> None:
        """Put the app into the settings, where INSTALLED_APPS is assigned. Raises ByHand.

        manage.py may use other settings than the site. They mostly import INSTALLED_APPS from one module.
        """
        names = {self.finding.settings: True, self.served_settings(): True}
        origins = {self._modules.origin(name, "INSTALLED_APPS"): name for name in reversed(names)}
        if None in origins:
            raise ByHand(
                f"no module that {origins[None]} imports by name assigns INSTALLED_APPS. Add"
                ' "sluice_updates" to it by hand, then run this again'
            )
        for path in origins:
            assert path is not None
            source = self._editable(path, APP)
            after = source.after_last_binding("INSTALLED_APPS")
            assert after is not None
            self._put(source.with_lines([(after, [APP])]))

    def add_polling(self, address: str) -> None:
        """Put the polling view into the URLconf, before all patterns that could hide it. Raises ByHand."""
        statement = f'path("{address}", include("sluice_updates.urls"))'
        source = self._editable(Path(self.finding.urlconf_file), f"urlpatterns = [{statement}, *urlpatterns]")
        after = source.after_last_binding("urlpatterns")
        if after is None:
            raise ByHand(
                f"{source.path} assigns no urlpatterns that could be extended. Write {statement} before its"
                " other patterns by hand, then run this again"
            )
        missing, taken = _url_functions(source.tree)
        imports = [f"from django.urls import {', '.join(missing)}"] if missing else []
        if taken:
            statement = f'django.urls.path("{address}", django.urls.include("sluice_updates.urls"))'
            imports = ["import django.urls"]
        additions = [(after, [f"urlpatterns = [{statement}, *urlpatterns]"])]
        if imports:
            additions.append((source.after_imports(), imports))
        self._put(source.with_lines(additions))

    def add_stack(self) -> None:
        """Put the stack's lines at the end of the settings that the site runs with. Raises ByHand."""
        name = self.served_settings()
        path = self._modules.find(name)
        if path is None:
            raise ByHand(
                f"the settings module {name} has no file. Write {'; '.join(STACK)} at its end by hand"
            )
        source = self._editable(path, "; ".join(STACK))
        if not _configures_the_stack(source.tree):
            self._put(source.with_lines([(source.end, STACK)]))

    def remove(self, source: Source) -> None:
        """Take all marked lines out of a file. Raises ByHand."""
        try:
            self._put(source.without_marked())
        except Uneditable as error:
            raise ByHand(
                f"{source.path} without the lines that end in {MARK}: {error}. Remove them by hand"
            ) from error

    def marked(self, folder: Path) -> list[Source]:
        """The project's files with marked lines: those below its folder, and its settings elsewhere."""
        found = {source.path: source for source in marked_files(folder)}
        for name in (self.finding.settings, self.served_settings()):
            for path in (self._modules.find(name), self._modules.origin(name, "INSTALLED_APPS")):
                with suppress(OSError, Uneditable):
                    if path and path not in found and (source := Source.read(path)).is_marked:
                        found[path] = source
        return list(found.values())

    def served_settings(self) -> str:
        """The settings that the site runs with.

        If the environment names others than manage.py, those; else what the module of WSGI_APPLICATION names.
        """
        served = self._modules.find(self.finding.wsgi.rpartition(".")[0]) if self.finding.wsgi else None
        if self.finding.settings != (_settings_in(self._manage) or self.finding.settings):
            return self.finding.settings
        return _settings_in(served) or self.finding.settings

    def _editable(self, path: Path, line: str) -> Source:
        if path in self._sources:
            return self._sources[path]
        if "site-packages" in path.parts:
            raise ByHand(
                f"{path} is part of an installed package, and its next upgrade would undo the edit. Write"
                f" this in settings or a URLconf of your own: {line}"
            )
        try:
            return Source.read(path)
        except (Uneditable, OSError) as error:
            raise ByHand(f"{path} can't be edited: {error}. Write {line} into it by hand") from error

    def _put(self, changed: Source) -> None:
        if changed.path not in self._before:
            self._before[changed.path] = changed.path.read_bytes()
        self._sources[changed.path] = changed


def _settings_in(path: Path | None) -> str | None:
    """X of `os.environ.setdefault("DJANGO_SETTINGS_MODULE", "X")` in a file, or of the assignment."""
    try:
        tree = Source.read(path).tree if path else ast.Module([], [])
    except (OSError, Uneditable):
        return None
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="setdefault"),
                args=[ast.Constant(value="DJANGO_SETTINGS_MODULE"), ast.Constant(value=str(found))],
            ):
                return found
            case ast.Assign(
                targets=[ast.Subscript(slice=ast.Constant(value="DJANGO_SETTINGS_MODULE"))],
                value=ast.Constant(value=str(found)),
            ):
                return found
    return None


def _configures_the_stack(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.ImportFrom) and node.module == "sluice_stack.project" for node in ast.walk(tree)
    )


def _url_functions(tree: ast.Module) -> tuple[list[str], bool]:
    """Of `include` and `path`: which the module doesn't import, and whether one is something else there."""
    wanted = ("include", "path")
    imported: set[str] = set()
    taken = False
    for statement in flattened(tree.body):
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            module = getattr(statement, "module", "")
            for alias in statement.names:
                if (alias.asname or alias.name) in wanted:
                    is_it = module in ("django.urls", "django.conf.urls") and not alias.asname
                    imported |= {alias.name} if is_it else set()
                    taken = taken or not is_it
        elif isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            taken = taken or statement.name in wanted
        else:
            taken = taken or any(assigned(statement, name) for name in wanted)
    return [name for name in wanted if name not in imported], taken
