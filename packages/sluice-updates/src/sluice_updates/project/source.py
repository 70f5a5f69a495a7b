"""A Python file to which lines are added. Each is marked, so that removing them leaves the same bytes."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

MARK: Final = "# sluice_init"
_MARKED: Final = re.compile(rf"{MARK}(?!\w)")


class Uneditable(Exception):
    """The file can't be edited. The text is the reason, a clause."""


class Source:
    """The text of a file, with its encoding and its line ends. Edits return new bytes."""

    def __init__(self, path: Path, data: bytes) -> None:
        """Raises Uneditable if it isn't Python."""
        self.path = path
        self.data = data
        try:
            self._encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
            self._text = data.decode(self._encoding)
            self.tree = ast.parse(data, filename=str(path))
        except (SyntaxError, ValueError) as error:
            raise Uneditable(f"it can't be parsed: {error}") from error
        if re.search("\r(?!\n)", self._text):  # Python counts these as line ends, most editors don't
            raise Uneditable("its lines end in a single carriage return")
        self._lines = re.findall(r"[^\n]*\n|[^\n]+", self._text)
        self._line_end = "\r\n" if self._lines and self._lines[0].endswith("\r\n") else "\n"

    @classmethod
    def read(cls, path: Path) -> Source:
        """Raises Uneditable, OSError."""
        return cls(path, path.read_bytes())

    # Adding

    def with_lines(self, additions: Iterable[tuple[int, Sequence[str]]]) -> Source:
        """The file with marked lines after the given line numbers (0: at the start).

        Of two additions after the same line, the later one comes first.
        """
        lines = list(self._lines)
        for after, added in sorted(additions, key=lambda addition: addition[0], reverse=True):
            marked = [f"{line}  {MARK}{self._line_end}" for line in added]
            if after and not lines[after - 1].endswith("\n"):
                # The file ends without a line end, and still does.
                lines[after - 1] += self._line_end
                marked[-1] = marked[-1].removesuffix(self._line_end)
            lines[after:after] = marked
        return self._changed("".join(lines))

    def after_last_binding(self, name: str) -> int | None:
        """The last line of the last statement that gives the module's `name` a value, or changes it in place.

        None: no statement does.
        """
        found = [statement for statement in self.tree.body if _binds(statement, name)]
        return self._end(found[-1]) if found else None

    def after_imports(self) -> int:
        """The number of the last line of the imports at the start of the file."""
        last = 0
        for statement in self.tree.body:
            is_docstring = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if not (is_docstring or isinstance(statement, (ast.Import, ast.ImportFrom))):
                break
            last = self._end(statement)
        return last

    @property
    def end(self) -> int:
        """The number of the last line."""
        return len(self._lines)

    # Removing

    @property
    def is_marked(self) -> bool:
        """Whether lines were added."""
        return MARK in self._text and bool(self._marks())

    @property
    def marked_lines(self) -> set[int]:
        """The numbers of the lines that `without_marked` removes."""
        marks = self._marks()
        wrapped = (each for each in self.tree.body if each.end_lineno in marks)
        return marks.union(*(range(each.lineno, (each.end_lineno or 0) + 1) for each in wrapped))

    def without_marked(self) -> Source:
        """The file without the marked statements and lines. Raises Uneditable if the rest isn't Python.

        A formatter may have wrapped a statement, or joined a marked import with one of the project's: the
        whole statement goes, but names that the rest of the file uses stay imported.
        """
        lines: list[str | None] = list(self._lines)
        marks = self._marks()
        gone = [each for each in self.tree.body if each.end_lineno in marks]
        rest = ast.Module([each for each in self.tree.body if each not in gone], [])
        needed = _names(rest) - _bound(rest)
        for number in self.marked_lines:
            lines[number - 1] = None
        for statement in gone:
            if kept := _still_needed(statement, needed):
                lines[statement.lineno - 1] = ast.unparse(kept) + self._line_end
        text = "".join(line for line in lines if line is not None)
        if lines and lines[-1] is None and not self._lines[-1].endswith("\n"):
            text = text.removesuffix("\n").removesuffix("\r")
        return self._changed(text)

    def _marks(self) -> set[int]:
        """The numbers of the lines with a mark."""
        tokens = tokenize.generate_tokens(io.StringIO(self._text).readline)
        return {
            token.start[0]
            for token in tokens
            if token.type == tokenize.COMMENT and _MARKED.search(token.string)
        }

    # Parts

    def _changed(self, text: str) -> Source:
        return Source(self.path, text.encode(self._encoding))

    def _end(self, statement: ast.stmt) -> int:
        """The last line of a statement, and of those that begin on that line, after a semicolon."""
        end = statement.end_lineno or statement.lineno
        for other in self.tree.body:
            if other.lineno == end:
                end = other.end_lineno or end
        return end


def flattened(statements: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when the module is imported, also those in `if`, `try` and `with`."""
    for statement in statements:
        yield statement
        if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for field in ("body", "handlers", "orelse", "finalbody"):
                for inner in getattr(statement, field, ()):
                    yield from flattened(inner.body if isinstance(inner, ast.ExceptHandler) else [inner])


def assigned(statement: ast.stmt, name: str) -> ast.expr | None:
    """The value, if the statement is `name = value`."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    else:
        return None
    return (
        statement.value if any(isinstance(each, ast.Name) and each.id == name for each in targets) else None
    )


def mentions(node: ast.AST, name: str) -> bool:
    """Whether the name, or an attribute of that name, occurs in it."""
    return any(
        (isinstance(each, ast.Name) and each.id == name)
        or (isinstance(each, ast.Attribute) and each.attr == name)
        for each in ast.walk(node)
    )


def _binds(statement: ast.stmt, name: str) -> bool:
    for each in flattened([statement]):
        if isinstance(each, (ast.Import, ast.ImportFrom)):
            if any((alias.asname or alias.name) == name for alias in each.names):
                return True
        elif isinstance(each, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            if any(isinstance(node, ast.Name) and node.id == name for to in targets for node in ast.walk(to)):
                return True
        elif isinstance(each, ast.Expr) and isinstance(each.value, ast.Call):
            called = each.value.func  # urlpatterns.append(…)
            if (
                isinstance(called, ast.Attribute)
                and isinstance(called.value, ast.Name)
                and called.value.id == name
            ):
                return True
    return False


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _bound(module: ast.Module) -> set[str]:
    """The names that its imports, functions and assignments bind."""
    bound = {
        node.id for node in ast.walk(module) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    for each in flattened(module.body):
        if isinstance(each, (ast.Import, ast.ImportFrom)):
            bound |= {alias.asname or alias.name.split(".")[0] for alias in each.names}
        elif isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(each.name)
    return bound


def _still_needed(statement: ast.stmt, needed: set[str]) -> ast.stmt | None:
    """The import with only the names that are needed, or None."""
    if not isinstance(statement, (ast.Import, ast.ImportFrom)):
        return None
    names = [each for each in statement.names if (each.asname or each.name.split(".")[0]) in needed]
    if not names:
        return None
    if isinstance(statement, ast.Import):
        return ast.Import(names)
    return ast.ImportFrom(statement.module, names, statement.level)
