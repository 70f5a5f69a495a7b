"""`sluice_init`: write what a project needs for updates.

As long as the app isn't in INSTALLED_APPS, manage.py doesn't know the command. The program `sluice_init` does
the same, also for a project whose settings can't be imported.
"""

from __future__ import annotations

import difflib
import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, handle_default_options

from sluice_updates.project.edits import Draft
from sluice_updates.project.files import replace_all
from sluice_updates.project.steps import Problem, Project


class Command(BaseCommand):
    help = (
        "Write the app into the settings and the polling view into the URLs, after showing the difference. It"
        " finds the files by manage.py and DJANGO_SETTINGS_MODULE, and tries the edits before it writes them."
        " Running it again changes nothing. --remove takes exactly these lines out again."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--remove", action="store_true", help="take all of it out again")
        parser.add_argument(
            "--stack", action="store_true", help="also add the lines with which the settings run in the stack"
        )
        parser.add_argument("--yes", action="store_true", help="write without asking")
        parser.add_argument(
            "--polling", default="updates/", metavar="PATH", help="where pages poll (default: %(default)s)"
        )
        parser.add_argument(
            "--project",
            type=Path,
            metavar="FOLDER",
            help="the folder of manage.py (default: the current one)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        address = options["polling"].strip("/") + "/"
        if address == "/" or set(address) & set("<>\"'\\ "):
            raise CommandError(f"--polling {options['polling']!r} is not a path, such as updates/")
        folder = (options["project"] or _folder()).resolve()
        if not folder.is_dir():
            raise CommandError(f"{folder} is not a folder")
        project = Project(folder, address)
        try:
            draft = project.remove() if options["remove"] else project.add(stack=options["stack"])
        except Problem as problem:
            raise CommandError(f"{problem}\nNothing was written.") from problem
        self._show(draft, folder)
        for note in project.notes:
            self.stdout.write(f"Note: {note}")
        if not draft.changes:
            self.stdout.write("There is nothing to remove." if options["remove"] else "Nothing is missing.")
            return
        self._ask(options["yes"], len(draft.changes))
        try:
            replace_all(draft.changes)
        except OSError as error:
            raise CommandError(f"{error}\nNothing was written.") from error
        self.stdout.write("Written: " + ", ".join(_shown(path, folder) for path in draft.changes))
        if not options["remove"]:
            # In the stack, the start migrates.
            step = "make up" if options["stack"] else "manage.py migrate sluice_updates, and restart the site"
            self.stdout.write(f"Next: {step}.")

    def _show(self, draft: Draft, folder: Path) -> None:
        for path, (before, after) in draft.changes.items():
            name = _shown(path, folder)
            for line in difflib.unified_diff(_lines(before), _lines(after), name, name):
                self.stdout.write(line, ending="" if line.endswith("\n") else "\n")

    def _ask(self, yes: bool, count: int) -> None:
        if yes:
            return
        if not sys.stdin.isatty():
            raise CommandError(
                "Standard input is not a terminal, so nobody can be asked. Nothing was written; --yes writes"
                " without asking."
            )
        try:
            answer = input(f"Write {'this file' if count == 1 else f'these {count} files'}? [y/N] ")
        except (EOFError, KeyboardInterrupt):
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            raise CommandError("Nothing was written.")


def _folder() -> Path:
    """The folder of the manage.py that runs this, or the current one."""
    return Path(sys.argv[0]).parent if os.path.basename(sys.argv[0]) == "manage.py" else Path()


def _shown(path: Path, folder: Path) -> str:
    return os.path.relpath(path, folder)


def _lines(data: bytes) -> list[str]:
    return data.decode(errors="replace").splitlines(keepends=True)


def main() -> int:
    """The program `sluice_init`."""
    command = Command()
    options = command.create_parser("", "sluice_init").parse_args()
    handle_default_options(options)
    arguments = vars(options)
    try:
        command.execute(*arguments.pop("args", ()), **arguments)
    except CommandError as error:
        command.stderr.write(str(error))
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
