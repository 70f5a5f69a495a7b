"""`python -m sluice_stack.project.build`: the step of the image's build that knows the project.

It runs in the project's folder. It finds the settings module and writes it where every Python of the image
finds it, imports what the services will import, and collects the static files. The first problem ends it
with status 78 and one sentence, which has the fix.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from . import facts
from .facts import Unfit

EX_CONFIG: Final = 78
_OLDEST_DJANGO: Final = (5, 2)
_LINES: Final = "from sluice_stack.project import configure; configure(globals())"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m sluice_stack.project.build", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--settings", default="", help="the settings module (default: as wsgi.py or manage.py)"
    )
    parser.add_argument("--write", type=Path, required=True, help="the .pth file to write")
    parser.add_argument("--pip", default="", help="pip, to check that the installed packages fit each other")
    options = parser.parse_args()
    try:
        prepare(Path.cwd(), options.settings, options.write, options.pip)
    except Unfit as problem:
        print(f"sluice site: {problem}", file=sys.stderr)
        sys.exit(EX_CONFIG)


def prepare(folder: Path, wanted: str, startup_file: Path, pip: str = "") -> None:
    """All of the step. Raises Unfit."""
    settings = facts.settings_module(folder, wanted)
    variables = facts.variables(folder)
    startup_file.parent.mkdir(parents=True, exist_ok=True)
    startup_file.write_text(facts.startup_line(settings, variables), encoding="utf-8")
    for name, value in {"DJANGO_SETTINGS_MODULE": settings, **variables}.items():
        os.environ.setdefault(name, value)
    sys.path.insert(0, str(folder))
    packages(pip)
    check(settings)
    collect()
    print(f"sluice site: {settings} is fit for the stack")


def packages(pip: str = "") -> None:
    """Whether the installed packages fit the stack's own, and, by `pip check`, each other. Raises Unfit."""
    import django

    if django.VERSION < _OLDEST_DJANGO:
        raise Unfit(
            f"the project's requirements install Django {django.get_version()},"
            " and Sluice needs 5.2 or newer; raise it there"
        )
    for name in ("sluice-updates", "sluice-layer", "sluice-stack"):
        for misfit in misfits(_requires(name), metadata.version):
            raise Unfit(f"the project's requirements install {misfit}, which {name} needs; change them")
    if pip:
        command = [pip, "--python", sys.executable, "check"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            first = (done.stdout.strip() or done.stderr.strip()).splitlines()[0]
            raise Unfit(
                f"the project's requirements don't fit each other or the stack's: {first}; change them"
            )


def _requires(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # it runs from a checkout
        return []


def misfits(requirements: Iterable[str], version: Callable[[str], str]) -> Iterator[str]:
    """Installed packages outside the limits, such as `celery 5.3.0 instead of celery<6,>=5.5`.

    A package that is not installed is none: it belongs to a part that the site does not use.
    """
    from packaging.requirements import Requirement

    for line in requirements:
        wanted = Requirement(line)
        try:
            installed = version(wanted.name)
        except metadata.PackageNotFoundError:
            continue
        if not wanted.specifier.contains(installed, prereleases=True):
            yield f"{wanted.name} {installed} instead of {wanted.name}{wanted.specifier}"


def check(settings: str) -> None:
    """Import the project as the services do. Raises Unfit."""
    import django
    from django.conf import settings as found
    from django.core.exceptions import ImproperlyConfigured

    _import(f"the settings module {settings}", lambda: found.INSTALLED_APPS, _about_settings)
    _apps(found)
    _import("an app of INSTALLED_APPS", django.setup)
    if not getattr(found, "ROOT_URLCONF", ""):
        raise Unfit(f"{settings} sets no ROOT_URLCONF; name the module of the URLs there")
    _import(f"ROOT_URLCONF, {found.ROOT_URLCONF},", lambda: importlib.import_module(found.ROOT_URLCONF))
    _import("the WSGI application", lambda: importlib.import_module("sluice_stack.wsgi"))
    if _installed("channels"):
        _import("the ASGI application", lambda: _imported(found.ASGI_APPLICATION))
    if _installed("celery"):
        _import("the Celery application", lambda: importlib.import_module("sluice_stack.celery.project"))
    try:
        from sluice_stack import grants

        grants.table()
    except (ImportError, ImproperlyConfigured) as error:
        raise Unfit(
            f"SLUICE_STACK_GRANTS can't be used: {_one_line(error)}; correct it in {settings}"
        ) from None
    _system_checks()


def collect() -> None:
    """Collect the static files. Raises Unfit."""
    from django.apps import apps
    from django.core.management import call_command

    def run() -> None:
        # What it writes to standard error is in the exception too.
        call_command("collectstatic", "--no-input", stderr=io.StringIO())

    if apps.is_installed("django.contrib.staticfiles"):
        _import("collectstatic: the static files", run)


def _apps(settings: Any) -> None:
    apps, middleware = settings.INSTALLED_APPS, settings.MIDDLEWARE
    names = [app.removesuffix("Config") for app in apps]
    if "django.contrib.auth" not in apps:
        raise Unfit(
            "INSTALLED_APPS lacks django.contrib.auth; add it: only users who are signed in get updates"
        )
    if not any(name.endswith("SessionMiddleware") for name in middleware):
        raise Unfit(
            "MIDDLEWARE lacks django.contrib.sessions.middleware.SessionMiddleware; add it, with its app, and"
            " AuthenticationMiddleware: only users who are signed in get updates"
        )
    if not any(name.endswith("AuthenticationMiddleware") for name in middleware):
        raise Unfit(
            "MIDDLEWARE lacks django.contrib.auth.middleware.AuthenticationMiddleware;"
            " add it behind the sessions"
        )
    if not any(name.startswith("sluice_updates") for name in names):
        raise Unfit('INSTALLED_APPS lacks sluice_updates; add "sluice_updates", or run make init')
    if "sluice_stack" not in apps:
        raise Unfit(
            f"{settings.SETTINGS_MODULE} does not take the stack's settings;"
            f" write these at its end, or run make init: {_LINES}"
        )


def _system_checks() -> None:
    """Django's own checks of models, URLs and templates, and the updates'."""
    from django.core import checks

    tags = [checks.Tags.models, checks.Tags.urls, checks.Tags.templates, "sluice_updates"]
    # A check of the updates may need the database or a secret, which a build has not.
    for message in checks.run_checks(tags=tags):
        if message.level >= checks.ERROR and not message.is_silenced():
            hint = f"; {_one_line(message.hint)}" if message.hint else ""
            raise Unfit(f"manage.py check finds {message.id}: {_one_line(message.msg)}{hint}")


def _import(
    what: str, action: Callable[[], object], about: Callable[[BaseException], str] | None = None
) -> None:
    """Run the action. Raises Unfit with one sentence for anything that it raises."""
    try:
        action()
    except SystemExit as error:
        raise Unfit(f"{what} can't be imported: it ends Python ({error.code}); remove that exit") from None
    except Exception as error:
        fix = (about or _about)(error)
        raise Unfit(f"{what} can't be used: {_explained(error)}; {fix}") from None


def _about(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"add the package that has {error.name} to the project's requirements"
    return "correct it in the project"


def _about_settings(error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _about(error)
    return (
        "if it needs an environment variable, write it with a value for the build into the project's"
        f" {facts.VARIABLES}, and the real one into site.env"
    )


def _explained(error: BaseException) -> str:
    """The error on one line, with the project's last line that led to it."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = f"{type(error).__name__}: {_one_line(error)}"
    here = f"{Path.cwd()}/"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(here)]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{text} [{error.filename.removeprefix(here)}]"
    return f"{text} [{frames[-1].filename.removeprefix(here)}, line {frames[-1].lineno}]" if frames else text


def _one_line(value: object) -> str:
    return " ".join(str(value).split()).rstrip(".;")


def _imported(path: str) -> object:
    from django.utils.module_loading import import_string

    return import_string(path)


def _installed(name: str) -> bool:
    from sluice_stack import settings as stack

    return stack.installed(name)


if __name__ == "__main__":
    main()
