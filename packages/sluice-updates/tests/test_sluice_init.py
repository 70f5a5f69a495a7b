"""`sluice_init` on projects as `startproject` and others make them."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from sluice_updates.project import files as project_files
from updates_lab.site import PACKAGES, environment

COMMAND = (sys.executable, "-m", "sluice_updates.management.commands.sluice_init")
APP = 'INSTALLED_APPS = [*INSTALLED_APPS, "sluice_updates"]  # sluice_init'
POLLING = 'urlpatterns = [path("updates/", include("sluice_updates.urls")), *urlpatterns]  # sluice_init'


class Made:
    """A project below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        call_command("startproject", "site1", str(folder))

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def append(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(path.read_text() + text)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def replace(self, name: str, old: str, new: str) -> None:
        text = self.read(name)
        assert old in text
        self.write(name, text.replace(old, new))

    def split_settings(self, first_line: str) -> None:
        """base.py, dev.py for manage.py, and production.py for Gunicorn."""
        package = self.folder / "site1/settings"
        package.mkdir()
        (self.folder / "site1/settings.py").rename(package / "base.py")
        self.write("site1/settings/__init__.py", "")
        self.write(
            "site1/settings/dev.py",
            f"{first_line}\n\nDEBUG = True\nINSTALLED_APPS += ['django.contrib.sites']\n",
        )
        self.write("site1/settings/production.py", f"{first_line}\n\nDEBUG = False\n")
        self.replace("manage.py", "site1.settings", "site1.settings.dev")
        self.replace("site1/wsgi.py", "site1.settings", "site1.settings.production")

    def files(self) -> dict[str, bytes]:
        """All of its files, without those that Python compiled."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path.suffix != ".pyc"
        }

    def run(self, *command: str, status: int = 0, **variables: str) -> str:
        """Run a program in the project's folder, without a terminal. Returns all that it prints."""
        done = subprocess.run(
            command or COMMAND,
            cwd=self.folder,
            env=without_settings(**variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def init(self, *options: str, status: int = 0, **variables: str) -> str:
        return self.run(*COMMAND, *options, status=status, **variables)

    def manage(self, *arguments: str, status: int = 0, **variables: str) -> str:
        return self.run(sys.executable, "manage.py", *arguments, status=status, **variables)

    def refused(self, *options: str, **variables: str) -> str:
        """Run sluice_init, which must refuse, and write nothing."""
        before = self.files()
        said = self.init("--yes", *options, status=1, **variables)
        assert self.files() == before
        assert "Nothing was written." in said
        assert "Traceback" not in said
        return said


def without_settings(**more: str) -> dict[str, str]:
    found = environment(**more)
    if "DJANGO_SETTINGS_MODULE" not in more:
        del found["DJANGO_SETTINGS_MODULE"]
    return found


@pytest.fixture
def project(tmp_path: Path) -> Made:
    return Made(tmp_path)


def _start_project(project: Made) -> None:
    pass


def _relative(project: Made) -> None:
    project.split_settings("from .base import *")


def _absolute(project: Made) -> None:
    project.split_settings("from site1.settings.base import *")


def _by_attribute(project: Made) -> None:
    project.split_settings("from .base import *")
    project.write(
        "site1/settings/production.py",
        "from . import base\nfrom .base import *\n\n"
        "INSTALLED_APPS = base.INSTALLED_APPS + ['django.contrib.sites']\n",
    )


def _package(project: Made) -> None:
    project.split_settings("from .base import *")
    project.write("site1/settings/__init__.py", "from .dev import *\n")
    project.replace("manage.py", "site1.settings.dev", "site1.settings")


def _local_settings(project: Made) -> None:
    project.append("site1/settings.py", "\ntry:\n    from .local import *\nexcept ImportError:\n    pass\n")


def _tuple(project: Made) -> None:
    text = project.read("site1/settings.py")
    head, _, tail = text.partition("INSTALLED_APPS = [")
    project.write("site1/settings.py", head + "INSTALLED_APPS = (" + tail.replace("]", ")", 1))


def _catch_all(project: Made) -> None:
    """As in Wagtail's start project: the last pattern takes every path."""
    project.append(
        "site1/urls.py",
        "\nfrom django.http import HttpResponse\nfrom django.urls import include, re_path\n"
        "urlpatterns = urlpatterns + [re_path(r'^(.*)$', lambda request, path: HttpResponse('a page'))]\n",
    )


def _other_path(project: Made) -> None:
    """`path` is something else in the URLconf."""
    project.write(
        "site1/urls.py",
        "from os import path\n\nfrom django import urls\n\nassert path.sep\n"
        "urlpatterns = [urls.path('a/', urls.include([]))]\n",
    )


def _no_line_ends(project: Made) -> None:
    project.write("site1/urls.py", "urlpatterns = []")


def _imported_patterns(project: Made) -> None:
    (project.folder / "site1/urls.py").rename(project.folder / "site1/patterns.py")
    project.write("site1/urls.py", "from .patterns import urlpatterns\n")


POLLS = """
from django.core.management import call_command
from django.test import Client

call_command("migrate", verbosity=0)
call_command("check", tags=["sluice_updates"])
print(Client(headers={"host": "localhost"}).get("/updates/").status_code)
"""
QUICK = (_start_project, _relative, _catch_all)
SLOW = (
    *(_absolute, _by_attribute, _package, _local_settings, _tuple),
    *(_other_path, _no_line_ends, _imported_patterns),
)
KINDS = [
    *(pytest.param(make, id=make.__name__.strip("_")) for make in QUICK),
    *(pytest.param(make, id=make.__name__.strip("_"), marks=pytest.mark.servers) for make in SLOW),
]


@pytest.mark.parametrize("make", KINDS)
def test_it_is_written_works_and_is_taken_out_again(project: Made, make: Callable[[Made], None]) -> None:
    make(project)
    before = project.files()
    said = project.init("--yes")
    assert f"+{APP}" in said
    assert "Written: " in said
    changed = {name for name, data in project.files().items() if data != before[name]}
    in_base = (project.folder / "site1/settings/base.py").exists()
    assert changed == {"site1/settings/base.py" if in_base else "site1/settings.py", "site1/urls.py"}
    assert project.manage("shell", "--verbosity", "0", "-c", POLLS).splitlines()[-1] == "401"

    done = project.files()
    assert "Nothing is missing." in project.manage("sluice_init", "--yes")
    assert project.files() == done

    said = project.manage("sluice_init", "--remove", "--yes")
    assert "manage.py migrate sluice_updates zero" in said
    done.update(before)
    assert project.files() == done
    assert "There is nothing to remove." in project.init("--remove", "--yes")


def test_both_settings_get_the_app_if_they_share_nothing(project: Made) -> None:
    """manage.py and Gunicorn use different files."""
    text = project.read("site1/settings.py")
    project.write("site1/settings_production.py", text)
    project.replace("site1/wsgi.py", "site1.settings", "site1.settings_production")
    project.init("--yes")
    assert APP in project.read("site1/settings.py")
    assert APP in project.read("site1/settings_production.py")


def test_the_environment_names_the_settings(project: Made) -> None:
    project.split_settings("from .base import *")
    project.write("site1/settings/other.py", project.read("site1/settings/base.py"))
    project.init("--yes", DJANGO_SETTINGS_MODULE="site1.settings.other")
    assert APP in project.read("site1/settings/other.py")


@pytest.mark.parametrize("split", [False, True])
def test_the_stacks_lines_need_the_stacks_package(project: Made, tmp_path: Path, split: bool) -> None:
    """They go to the end of the settings that Gunicorn runs with."""
    if split:
        project.split_settings("from .base import *")
    hiding = tmp_path / "hiding"  # the image of the tests has the package
    hiding.mkdir()
    (hiding / "sluice_stack.py").write_text("raise ModuleNotFoundError(\"No module named 'sluice_stack'\")\n")
    said = project.refused("--stack", PYTHONPATH=f"{hiding}:{PACKAGES / 'sluice-updates/src'}")
    name = "site1.settings.production" if split else "site1.settings"
    assert f"the settings module {name} can't be imported: ModuleNotFoundError: No module named 'slu" in said


def test_it_works_without_manage_py(project: Made) -> None:
    (project.folder / "manage.py").unlink()
    assert "has no manage.py" in project.refused()
    assert "Written: " in project.init("--yes", DJANGO_SETTINGS_MODULE="site1.settings")


def test_a_manage_py_that_does_more_is_run(project: Made) -> None:
    """Such as one that adds a folder to sys.path, and chooses the settings by a variable."""
    (project.folder / "source").mkdir()
    (project.folder / "site1").rename(project.folder / "source/site1")
    project.replace(
        "manage.py",
        "    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site1.settings')",
        "    sys.path.insert(0, 'source')\n"
        "    os.environ['DJANGO_SETTINGS_MODULE'] = os.environ['SITE_NAME'] + '.settings'\n"
        "    print('hello')",
    )
    project.init("--yes", SITE_NAME="site1")
    assert APP in project.read("source/site1/settings.py")


def test_without_a_terminal_nothing_is_written(project: Made) -> None:
    before = project.files()
    said = project.init(status=1)
    assert f"+{APP}" in said
    assert f"+{POLLING}" in said
    assert "--yes writes without asking" in said
    assert project.files() == before


@pytest.mark.parametrize(
    ("typed", "written"),
    [(b"y\n", True), (b"n\n", False), (b"\n", False), (b"\x04", False), (b"\x03", False)],
)
def test_it_asks_on_a_terminal(project: Made, typed: bytes, written: bool) -> None:
    before = project.files()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        COMMAND, cwd=project.folder, env=without_settings(), stdin=theirs, stdout=theirs, stderr=theirs,
        preexec_fn=lambda: _take_terminal(theirs), start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    while b"[y/N] " not in said:
        said += os.read(ours, 65536)
    os.write(ours, typed)
    if typed == b"\x03":  # Python does not hear one that comes just before it waits
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
        if process.poll() is None:
            os.write(ours, typed)
    assert process.wait(30) == (0 if written else 1)
    os.close(ours)
    assert (project.files() == before) is not written


def _take_terminal(number: int) -> None:
    """Make the terminal the process's own, so that Control-C sends a signal."""
    import fcntl
    import termios

    fcntl.ioctl(number, termios.TIOCSCTTY, 0)


def test_settings_that_cannot_be_imported_are_named(project: Made) -> None:
    project.append("site1/settings.py", "\nimport os\n\nKEY = os.environ['KEY_OF_THE_SITE']\n")
    said = project.refused()
    assert "the settings module site1.settings can't be imported: KeyError: 'KEY_OF_THE_SITE'" in said
    assert "[site1/settings.py, line " in said
    assert "Written: " in project.init("--yes", KEY_OF_THE_SITE="x")


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("INSTALLED_APPS += (", "SyntaxError: '(' was never closed"),
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_other_broken_settings_too(project: Made, line: str, named: str) -> None:
    project.append("site1/settings.py", line + "\n")
    assert named in project.refused()


def test_settings_that_end_python_are_named(project: Made) -> None:
    project.append("site1/settings.py", "import os\nos._exit(4)\n")
    assert "importing the project ends Python: status 4" in project.refused()


def test_broken_urls_are_named(project: Made) -> None:
    project.append("site1/urls.py", "from site1 import nothing\n")
    said = project.refused()
    assert "ROOT_URLCONF, site1.urls, can't be imported: ImportError: cannot import name 'nothing'" in said


def test_apps_that_are_made_elsewhere_are_named(project: Made) -> None:
    text = project.read("site1/settings.py")
    project.write(
        "site1/settings.py", text.replace("INSTALLED_APPS = ", "globals()['INSTALLED_' + 'APPS'] = ")
    )
    said = project.refused()
    assert 'assigns INSTALLED_APPS. Add "sluice_updates" to it by hand' in said


def test_apps_that_are_replaced_later_are_named(project: Made) -> None:
    project.append("site1/settings.py", "globals()['INSTALLED_APPS'] = [*INSTALLED_APPS[:6]]\n")
    assert "changes INSTALLED_APPS after its assignment" in project.refused()


def test_an_address_of_the_sites_own_is_not_taken(project: Made) -> None:
    project.append(
        "site1/urls.py",
        "\n\ndef updates(request):\n    pass\n\n\nurlpatterns += [path('updates/', updates)]\n",
    )
    said = project.refused()
    assert "/updates/ is an address of your site, of the view site1.urls.updates" in said
    assert 'path("live/", include("sluice_updates.urls"))' in project.init("--yes", "--polling", "live")


@pytest.mark.parametrize("pattern", [r"^(.*)$", r"^((?:[\w-]+/)*)$", "^([a-z]+)/$"])
def test_an_address_of_a_pattern_for_many_pages_is_free(project: Made, pattern: str) -> None:
    """Such as those of a CMS."""
    project.append(
        "site1/urls.py",
        "\nfrom django.http import HttpResponse\nfrom django.urls import re_path\n"
        f"urlpatterns += [re_path(r'{pattern}', lambda request, path: HttpResponse('a page'))]\n",
    )
    assert f"+{POLLING}" in project.init("--yes")


def test_a_project_that_uses_the_app_already_is_completed(project: Made) -> None:
    """Such as one from whose settings someone took the app."""
    project.append("site1/urls.py", "\nfrom sluice_updates import publish\n")
    said = project.init("--yes")
    assert f"+{APP}" in said
    assert f"+{POLLING}" in said


def test_a_catch_all_above_a_line_that_was_written_by_hand_is_named(project: Made) -> None:
    _catch_all(project)
    project.append("site1/urls.py", "urlpatterns += [path('updates/', include('sluice_updates.urls'))]\n")
    said = project.refused()
    assert "/updates/ does not reach the polling view: a pattern above it in site1.urls leads to" in said
    assert "Move the include of sluice_updates.urls above that pattern" in said


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("django.contrib.sessions.middleware.SessionMiddleware", "MIDDLEWARE has no SessionMiddleware"),
        (
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "MIDDLEWARE has no AuthenticationMiddleware",
        ),
        ("django.contrib.sessions", "django.contrib.sessions is not in INSTALLED_APPS"),
    ],
)
def test_a_site_without_sessions_or_users_is_named(project: Made, name: str, named: str) -> None:
    project.replace("site1/settings.py", f"    '{name}',\n", "")
    assert named in project.refused()


def test_a_database_that_is_not_supported_is_named(project: Made) -> None:
    project.write("site1/mysql/__init__.py", "")
    project.write(
        "site1/mysql/base.py",
        "from django.db.backends.sqlite3.base import DatabaseWrapper as Wrapper\n\n\n"
        "class DatabaseWrapper(Wrapper):\n    vendor = 'mysql'\n",
    )
    project.replace("site1/settings.py", "django.db.backends.sqlite3", "site1.mysql")
    assert "updates can't be stored in mysql. Use PostgreSQL or SQLite." in project.refused()


def test_static_files_that_were_not_collected_are_named(project: Made) -> None:
    project.append(
        "site1/settings.py",
        "\nDEBUG = False\nALLOWED_HOSTS = ['localhost']\nSTATIC_ROOT = BASE_DIR / 'static'\n"
        "MANIFEST = 'django.contrib.staticfiles.storage.ManifestStaticFilesStorage'\n"
        "STORAGES = {'staticfiles': {'BACKEND': MANIFEST}}\n",
    )
    named = "Missing staticfiles manifest entry for 'sluice_updates/updates.js'"
    assert named in project.init("--yes")
    project.manage("collectstatic", "--no-input", "--verbosity", "0")
    assert named not in project.manage("check", "--tag", "sluice_updates")


def test_another_app_labelled_updates_is_no_obstacle(project: Made) -> None:
    """It has a label, tables and an address of the same name, and a namespace."""
    project.write("updates/__init__.py", "")
    project.write(
        "updates/models.py",
        "from django.db import models\n\n\nclass Update(models.Model):\n    text = models.TextField()\n",
    )
    project.write(
        "updates/urls.py",
        "from django.urls import path\n\napp_name = 'updates'\n"
        "urlpatterns = [path('', lambda request: None, name='poll')]\n",
    )
    project.append("site1/settings.py", "\nINSTALLED_APPS += ['updates']\n")
    project.append(
        "site1/urls.py",
        "\nfrom django.urls import include\nurlpatterns += [path('news/', include('updates.urls'))]\n",
    )
    project.manage("makemigrations", "--verbosity", "0", "updates")
    project.init("--yes")
    project.manage("check")
    project.manage("migrate", "--verbosity", "0")
    project.manage("migrate", "--verbosity", "0", "sluice_updates", "zero")
    assert "updates_update" in project.manage("inspectdb", "updates_update")


def test_an_asgi_application_without_updates_is_named(project: Made) -> None:
    project.append("site1/settings.py", "\nASGI_APPLICATION = 'site1.asgi.application'\n")
    assert "ASGI_APPLICATION is site1.asgi.application, which doesn't serve updates." in project.init("--yes")


def test_settings_of_an_installed_package_are_not_edited(project: Made) -> None:
    folder = project.folder / "site-packages/product"
    folder.mkdir(parents=True)
    (project.folder / "site1/settings.py").rename(folder / "settings.py")
    project.write("site1/settings.py", "from product.settings import *\n")
    project.replace("manage.py", "import sys\n", "import sys\n\nsys.path.append('site-packages')\n")
    assert "is part of an installed package" in project.refused()


def test_an_app_in_use_is_not_removed(project: Made) -> None:
    project.init("--yes")
    project.append("site1/urls.py", "\nfrom sluice_updates import publish  # for sluice_updates\n")
    project.write("site1/notes.py", "# sluice_updates was here\nPATH = 'static/sluice_updates/page.js'\n")
    project.write("site1/templates/page.html", "{% load sluice_updates %}\n")
    done = project.files()
    said = project.init("--remove", "--yes", status=1)
    lines = len(project.read("site1/urls.py").splitlines())
    uses = f"site1/templates/page.html:1, site1/urls.py:{lines}. Remove these first"
    assert f"the project still uses the package: {uses}" in said
    assert project.files() == done


def test_a_line_that_someone_else_wrote_stays_and_is_named(project: Made) -> None:
    project.init("--yes")
    project.replace("site1/settings.py", "  # sluice_init", "")
    done = project.files()
    said = project.init("--remove", "--yes", status=1)
    assert "the project still uses the package: site1/settings.py:" in said
    assert project.files() == done


def test_owner_permissions_and_links_stay(project: Made) -> None:
    path = project.folder / "site1/settings.py"
    path.chmod(0o640)
    real = path.rename(project.folder / "real_settings.py")
    path.symlink_to(real)
    project.init("--yes")
    assert path.is_symlink()
    assert APP in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o640


def test_an_old_django_is_named(project: Made) -> None:
    """Before anything of the package is imported that older versions don't have."""
    older = "import sys\n\nimport django\n\ndjango.VERSION = (4, 2, 30, 'final', 0)\n"
    project.replace("manage.py", "import sys\n", older)
    said = project.refused()
    assert "the project can't be imported: Django 4.2.30 is too old: install Django 5.2 or newer." in said


# All files or none


@pytest.fixture
def two_files(tmp_path: Path) -> dict[Path, tuple[bytes, bytes]]:
    changes = {tmp_path / name: (b"before " + name.encode(), b"after") for name in ("a", "b")}
    for path, (before, _) in changes.items():
        path.write_bytes(before)
    return changes


def test_two_names_of_one_file_are_refused(
    two_files: dict[Path, tuple[bytes, bytes]], tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "b")
    with pytest.raises(OSError, match="are one file, by a symbolic link"):
        project_files.replace_all({**two_files, link: (b"before b", b"other")})
    assert [path.read_bytes() for path in two_files] == [before for before, _ in two_files.values()]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "link"]


def test_if_the_second_file_cannot_be_renamed_the_first_is_put_back(
    two_files: dict[Path, tuple[bytes, bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    replace = os.replace
    _, second = two_files

    def fail(source: Any, target: Any) -> None:
        if Path(target) == second:
            raise OSError("the disk fails")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="the disk fails"):
        project_files.replace_all(two_files)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a": b"before a",
        "b": b"before b",
    }


def test_a_file_that_has_changed_meanwhile_is_not_overwritten(
    two_files: dict[Path, tuple[bytes, bytes]], tmp_path: Path
) -> None:
    _, second = two_files
    second.write_bytes(b"of an editor")
    with pytest.raises(OSError, match="changed by another program"):
        project_files.replace_all(two_files)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a": b"before a",
        "b": b"of an editor",
    }


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_control_c_while_it_writes(
    two_files: dict[Path, tuple[bytes, bytes]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, moment: str
) -> None:
    """Before the first rename, nothing changes. After it, all of it does, and then the signal counts."""
    original = getattr(os, moment)

    def interrupted(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(os, moment, interrupted)
    with pytest.raises(KeyboardInterrupt):
        project_files.replace_all(two_files)
    monkeypatch.undo()
    kept = moment == "fsync"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        path.name: before if kept else after for path, (before, after) in two_files.items()
    }
