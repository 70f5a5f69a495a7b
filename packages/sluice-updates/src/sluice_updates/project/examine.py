"""`python -m sluice_updates.project.examine`: imports a project, and prints as JSON what it found.

Standard input: an Order. Standard output: a Finding. What the project prints goes to standard error.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import secrets
import string
import subprocess
import sys
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from . import overlay

SECONDS: Final = 120  # some projects import for long


@dataclass
class Finding:
    """The project, as far as it could be imported."""

    settings: str = ""  # the name of the settings module
    path: list[str] = field(default_factory=list)  # sys.path
    broken: str = ""  # what can't be imported
    why: str = ""  # the error, and its place
    urlconf: str = ""  # the name of ROOT_URLCONF
    urlconf_file: str = ""
    wsgi: str = ""  # WSGI_APPLICATION
    installed: bool | None = None  # whether the app is; None: the settings can't be imported
    polling: str = ""  # the address of the polling view; empty: the URLs don't include it
    hidden_by: str = ""  # the view of another pattern that answers there
    taken_by: str = ""  # the view that has the address at which it would be included
    foreign_asgi: str = ""  # ASGI_APPLICATION, if it doesn't serve updates
    problems: list[list[str]] = field(default_factory=list)  # of the system checks: (level, id, text, hint)


def examine(
    folder: Path, *, manage: Path | None, address: str, files: Mapping[Path, bytes], settings: str | None
) -> Finding:
    """Import the project in another process, as if these files had these bytes.

    `settings`: instead of those of the environment or of manage.py. Raises OSError if that process doesn't
    run to its end.
    """
    order = {
        "manage": str(manage) if manage else "",
        "address": address,
        "files": {str(path): data.decode("latin-1") for path, data in files.items()},
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": settings} if settings else None,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(f"importing the project takes more than {SECONDS} s") from error
    try:
        return Finding(**json.loads(done.stdout))
    except ValueError:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise OSError(f"importing the project ends Python: {last}") from None


def main() -> int:
    order = json.load(sys.stdin)
    sys.dont_write_bytecode = True  # the project's folder stays as it is
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    overlay.install({path: text.encode("latin-1") for path, text in order["files"].items()})
    finding = Finding()
    try:
        for what, step in (
            ("manage.py", lambda: _settings_module(finding, order["manage"])),
            ("", lambda: _settings(finding)),
            ("an app in INSTALLED_APPS", _apps),
            ("", lambda: _urls(finding, order["address"])),
            ("a system check", lambda: _checks(finding)),
        ):
            finding.broken = what
            step()
        finding.broken = ""
    except _Refused as refusal:
        finding.broken, finding.why = "the project", str(refusal)
    except BaseException as error:
        finding.why = _explained(error)
    json.dump(asdict(finding), answer)
    answer.close()
    os._exit(0)  # threads that the project started can't keep this process


class _Reached(BaseException):
    """manage.py has done all that it does before a command."""


class _Refused(Exception):
    """The text is the whole problem."""


def _settings_module(finding: Finding, manage: str) -> None:
    import django
    from django.core.management import ManagementUtility

    def reached(self: Any) -> None:
        raise _Reached

    ManagementUtility.execute = reached
    if manage:
        sys.path[0] = str(Path(manage).parent)  # as Python does for a script
        sys.argv = [manage, "check"]
        with contextlib.suppress(_Reached):
            runpy.run_path(manage, run_name="__main__")
    if django.VERSION < (5, 2):
        raise _Refused(f"Django {django.get_version()} is too old: install Django 5.2 or newer")
    finding.path = [os.path.abspath(folder) for folder in sys.path]
    finding.settings = os.environ.get("DJANGO_SETTINGS_MODULE", "")
    if not finding.settings:
        raise _Refused("manage.py sets no DJANGO_SETTINGS_MODULE")


def _settings(finding: Finding) -> None:
    from django.conf import settings

    finding.broken = f"the settings module {finding.settings}"
    names = ("sluice_updates", "sluice_updates.apps.UpdatesConfig")
    finding.installed = any(name in names for name in settings.INSTALLED_APPS)
    finding.urlconf = str(settings.ROOT_URLCONF)
    finding.wsgi = str(getattr(settings, "WSGI_APPLICATION", "") or "")


def _apps() -> None:
    import django

    django.setup()


def _urls(finding: Finding, address: str) -> None:
    from django.urls import NoReverseMatch, get_script_prefix, reverse

    finding.broken = f"ROOT_URLCONF, {finding.urlconf},"
    finding.urlconf_file = str(importlib.import_module(finding.urlconf).__file__)
    try:
        finding.polling = "/" + reverse("sluice_updates:poll").removeprefix(get_script_prefix())
    except NoReverseMatch:
        # A view that answers at any such address is not in the way: the new pattern comes before its own.
        found = _view_at(f"/{address}")
        finding.taken_by = "" if found == _view_at(f"/{_alike(address)}") else found
    else:
        found = _view_at(finding.polling)
        finding.hidden_by = "" if found == "sluice_updates.views.poll" else found
    finding.foreign_asgi = _foreign_asgi()


def _alike(address: str) -> str:
    """A random address of the same form."""
    return "".join(secrets.choice(string.ascii_lowercase) if each.isalnum() else each for each in address)


def _view_at(path: str) -> str:
    """The dotted path of the view that answers there; empty if none does."""
    from django.http import Http404
    from django.urls import resolve

    try:
        view = resolve(path).func
    except Http404:
        return ""
    view = getattr(view, "view_class", view)
    return f"{view.__module__}.{getattr(view, '__qualname__', type(view).__qualname__)}"


def _foreign_asgi() -> str:
    from django.conf import settings
    from django.utils.module_loading import import_string

    name = str(getattr(settings, "ASGI_APPLICATION", "") or "")
    try:
        return "" if not name or hasattr(import_string(name), "update_path") else name
    except Exception:
        return name


def _checks(finding: Finding) -> None:
    from django.core.checks import run_checks

    if finding.installed:
        finding.problems = [
            ["error" if each.is_serious() else "warning", each.id or "", str(each.msg), str(each.hint or "")]
            for each in run_checks(tags=["sluice_updates"])
            if not each.is_silenced()
        ]


def _explained(error: BaseException) -> str:
    """The error on one line, with the project's last line that led to it."""
    text = " ".join(str(error).split())
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename:
        return f"{text} [{_relative(error.filename)}]"
    here = os.getcwd()
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(here) and "site-packages" not in frame.filename
    ]
    return f"{text} [{_relative(frames[-1].filename)}, line {frames[-1].lineno}]" if frames else text


def _relative(name: str) -> str:
    return os.path.relpath(name) if os.path.isabs(name) else name


if __name__ == "__main__":
    sys.exit(main())
