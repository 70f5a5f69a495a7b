"""What `sluice_init` does to a project: find out, draft the edits, and try them before they are written."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from .edits import ByHand, Draft
from .examine import Finding, examine
from .modules import python_files
from .source import Source

_USES: Final = re.compile(r"\bsluice_(?:updates|stack)\b")
_DOTTED: Final = re.compile(r"sluice_(?:updates|stack)(?:\.\w+)*")
_TEMPLATES: Final = (".html", ".jinja", ".jinja2", ".j2")
_SHOWN: Final = 10


class Problem(Exception):
    """What stands in the way, and the fix. Nothing was written."""


@dataclass
class Project:
    """A Django project. `manage`: its manage.py, if it has one in that folder."""

    folder: Path
    address: str  # of the polling view
    notes: list[str] = field(default_factory=list)  # for the reader, beside the edits

    @property
    def manage(self) -> Path | None:
        path = self.folder / "manage.py"
        return path if path.is_file() else None

    def add(self, *, stack: bool) -> Draft:
        """The edits that are still missing. Raises Problem."""
        before = self._found()
        draft = Draft(before, self.manage)
        try:
            if before.installed is False:
                draft.add_app()
                if before.broken:  # perhaps since it uses the app already
                    draft.finding = before = self._examine(draft)
            if before.broken:
                raise Problem(_not_importable(before))
            if not before.polling:
                if before.taken_by:
                    raise Problem(
                        f"/{self.address} is an address of your site, of the view {before.taken_by}. Choose"
                        " another one for polling, such as --polling live/"
                    )
                draft.add_polling(self.address)
            if stack:
                draft.add_stack()
        except ByHand as reason:
            raise Problem(f"{reason}.") from reason
        self._try(draft)
        if stack:
            self._try_served(draft)
        return draft

    def remove(self) -> Draft:
        """The edits that take out what `add` wrote. Raises Problem."""
        before = self._found()
        draft = Draft(before, self.manage)
        try:
            for source in draft.marked(self.folder):
                draft.remove(source)
        except ByHand as reason:
            raise Problem(f"{reason}.") from reason
        if not draft.changes:
            return draft
        if uses := list(self._uses(draft)):
            more = f", and {len(uses) - _SHOWN} more" if len(uses) > _SHOWN else ""
            raise Problem(
                "the project still uses the package: "
                + ", ".join(uses[:_SHOWN])
                + more
                + ". Remove these first;"
                " the site would fail without the app."
            )
        after = self._examine(draft)
        if after.broken and not before.broken:
            raise Problem(f"without these lines {after.broken} can't be imported: {after.why}.")
        if before.installed:
            self.notes.append(
                "unless manage.py migrate sluice_updates zero has dropped them, the tables and their updates"
                " stay in the database."
            )
        return draft

    def _try(self, draft: Draft) -> None:
        """Import the edited project, without writing it, and run the system checks."""
        after = self._examine(draft)
        if after.installed is False:
            raise Problem(
                f"{after.settings} changes INSTALLED_APPS after its assignment, so that sluice_updates is not"
                " in it. Add it by hand, after the last change."
            )
        if after.broken:
            raise Problem(f"with these lines {_not_importable(after)}")
        if after.hidden_by:
            raise Problem(
                f"{after.polling} does not reach the polling view: a pattern above it in {after.urlconf}"
                f" leads to {after.hidden_by}. Move the include of sluice_updates.urls above that pattern."
            )
        errors = [(text, hint) for level, _, text, hint in after.problems if level == "error"]
        if errors:
            raise Problem("\n".join(f"{text} {hint}" for text, hint in errors))
        self.notes += [f"{text} {hint}" for level, _, text, hint in after.problems if level != "error"]
        if after.foreign_asgi:
            self.notes.append(
                f"ASGI_APPLICATION is {after.foreign_asgi}, which doesn't serve updates. Make it"
                " sluice_updates.asgi.application(…) with your consumers, or run"
                " `python -m sluice_updates.server sluice_updates.asgi.default:application`."
            )

    def _try_served(self, draft: Draft) -> None:
        """Import the settings with the stack's lines too, if manage.py uses others."""
        served = draft.served_settings()
        if served == draft.finding.settings:
            return
        after = self._examine(draft, settings=served)
        if not after.broken:
            return
        if self._examine(Draft(Finding(), self.manage), settings=served).broken:
            self.notes.append(f"{served} could not be tried: {after.why}.")
        else:
            raise Problem(f"with these lines {_not_importable(after)}")

    def _found(self) -> Finding:
        if self.manage is None and not os.environ.get("DJANGO_SETTINGS_MODULE"):
            raise Problem(
                f"{self.folder} has no manage.py, and DJANGO_SETTINGS_MODULE is not set. Run this in the"
                " folder of manage.py, or name it with --project."
            )
        return self._examine(Draft(Finding(), self.manage))

    def _examine(self, draft: Draft, *, settings: str | None = None) -> Finding:
        files = {path: after for path, (_, after) in draft.changes.items()}
        try:
            return examine(
                self.folder, manage=self.manage, address=self.address, files=files, settings=settings
            )
        except OSError as error:
            raise Problem(f"the project can't be imported: {error}.") from error

    def _uses(self, draft: Draft) -> Iterator[str]:
        """FILE:LINE of what uses the package beside the lines that the draft removes."""
        edited = {path.resolve() for path in draft.changes}
        for path in python_files(self.folder, ".py", *_TEMPLATES):
            data = path.read_bytes()
            numbers = _used_by_python(data) if path.suffix == ".py" else _used_by_template(data)
            ours = Source(path, data).marked_lines if path.resolve() in edited else ()
            yield from (f"{path.relative_to(self.folder)}:{each}" for each in numbers if each not in ours)


def _used_by_python(data: bytes) -> list[int]:
    """The lines that import the packages, or name them in a dotted path."""
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        return _used_by_template(data)
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                names = [alias.name for alias in aliases]
            case ast.ImportFrom(module=str(module), level=0):
                names = [module]
            case ast.Constant(value=str(text)):
                names = [text]
            case _:
                continue
        if any(_DOTTED.fullmatch(name) for name in names):
            found.add(node.lineno)
    return sorted(found)


def _used_by_template(data: bytes) -> list[int]:
    lines = data.decode(errors="replace").splitlines()
    return [number for number, line in enumerate(lines, 1) if _USES.search(line)]


def _not_importable(finding: Finding) -> str:
    problem = f"{finding.broken} can't be imported: {finding.why}."
    if not finding.settings:
        return problem
    return (
        f"{problem} Correct it until `python manage.py check` works with DJANGO_SETTINGS_MODULE="
        f"{finding.settings} and the environment that the site runs with."
    )
