"""A project that was written without the stack: what `configure` changes, and what the build refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sluice_stack.project import facts
from sluice_stack.project.build import misfits

ROOT = Path(__file__).parents[3]
GUESTBOOK = ROOT / "tests/bare_metal/guestbook"
LINES = """
INSTALLED_APPS += ["sluice_updates"]
from sluice_stack.project import configure

configure(globals())
"""
IN_CONTAINER = {
    "SLUICE_SERVICE": "wsgi",
    "SITE_URL": "https://notes.example.org",
    "DATABASE_URL": "postgresql://wsgi@postgres:5432/sluice",
    "PUBLISHER_URL": "amqp://publisher@rabbitmq:5672/asgi",
    "TASKS_URL": "amqp://tasks@rabbitmq:5672/celery",
}
ASKED = """
import json, django
from django.conf import settings
django.setup()
import sys
values = {name: getattr(settings, name, None) for name in sys.argv[1:]}
print(json.dumps(values, default=str))
"""


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    """The guestbook of the guides, moved in."""
    folder = tmp_path / "guestbook"
    shutil.copytree(GUESTBOOK, folder, ignore=shutil.ignore_patterns("__pycache__"))
    add(folder / "guestbook/settings.py", LINES)
    return folder


def add(file: Path, text: str) -> None:
    with file.open("a") as opened:
        opened.write(text)


def python(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "SECRET_KEY_FILE")}
    kept["PYTHONPATH"] = os.pathsep.join([str(folder), *sys.path])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=kept | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def values(folder: Path, *names: str, **environ: str) -> dict[str, Any]:
    done = python(folder, "-c", ASKED, *names, DJANGO_SETTINGS_MODULE="guestbook.settings", **environ)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def built(folder: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    written = folder.parent / "site-packages/sluice-site.pth"
    command = ["-m", "sluice_stack.project.build", "--write", str(written), *arguments]
    return python(folder, *command, SLUICE_SERVICE="init", **environ)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Assert that the build ended with one sentence, and return it."""
    assert done.returncode == 78, done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("sluice site: ")
    return lines[0].removeprefix("sluice site: ")


# --- configure ---


def test_elsewhere_it_changes_nothing(guest: Path) -> None:
    found = values(guest, "DEBUG", "ALLOWED_HOSTS", "DATABASES", "LOGGING", "MIDDLEWARE", "INSTALLED_APPS")
    assert found["ALLOWED_HOSTS"] == ["localhost"]
    assert found["DATABASES"]["default"]["NAME"] == "guestbook"
    assert "sluice_stack" not in found["INSTALLED_APPS"] and len(found["MIDDLEWARE"]) == 5


def test_in_a_container_it_takes_the_stacks_environment(guest: Path) -> None:
    names = "DEBUG ALLOWED_HOSTS CSRF_TRUSTED_ORIGINS SESSION_COOKIE_SECURE DATABASES CELERY_BROKER_URL"
    files = "STATIC_ROOT MEDIA_ROOT SLUICE_UPDATES_PUBLISHER_URL SECRET_KEY"
    found = values(guest, *names.split(), *files.split(), **IN_CONTAINER)
    assert found["DEBUG"] is False and found["SESSION_COOKIE_SECURE"] is True
    assert found["ALLOWED_HOSTS"] == ["notes.example.org"]
    assert found["CSRF_TRUSTED_ORIGINS"] == ["https://notes.example.org"]
    assert found["DATABASES"]["default"]["HOST"] == "postgres"
    assert found["DATABASES"]["default"]["ENGINE"] == "sluice_stack.postgresql"
    assert found["CELERY_BROKER_URL"] == IN_CONTAINER["TASKS_URL"]
    assert found["SLUICE_UPDATES_PUBLISHER_URL"] == IN_CONTAINER["PUBLISHER_URL"]
    assert (found["STATIC_ROOT"], found["MEDIA_ROOT"]) == ("/opt/sluice/static", "/var/lib/sluice/media")
    assert found["SECRET_KEY"] == Path(os.environ["SECRET_KEY_FILE"]).read_text()


def test_the_key_of_the_build_is_never_a_services(guest: Path) -> None:
    code = "from django.conf import settings; settings.SECRET_KEY"
    keyless = {"SECRET_KEY_FILE": "", "DJANGO_SETTINGS_MODULE": "guestbook.settings"}
    assert python(guest, "-c", code, SLUICE_SERVICE="init", **keyless).returncode == 0
    done = python(guest, "-c", code, **IN_CONTAINER | keyless)
    assert "The SECRET_KEY setting must not be empty" in done.stderr


def test_the_updates_own_application_brings_no_consumers(guest: Path) -> None:
    name = "SLUICE_STACK_ASGI_APPLICATION"
    settings = guest / "guestbook/settings.py"
    text = settings.read_text()
    for application, expected in (
        ("sluice_updates.asgi.default.application", ""),
        ("guestbook.asgi.application", "guestbook.asgi.application"),
    ):
        settings.write_text(
            text.replace("from sluice_stack", f"ASGI_APPLICATION = '{application}'\nfrom sluice_stack")
        )
        assert values(guest, name, **IN_CONTAINER)[name] == expected


def test_what_the_project_decides_stays(guest: Path) -> None:
    settings = guest / "guestbook/settings.py"
    own = """
DATABASES["default"]["ATOMIC_REQUESTS"] = True
DATABASES["archive"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
CSRF_TRUSTED_ORIGINS = ["https://api.example.org"]
LOGGING = {"version": 1, "loggers": {"guestbook": {"level": "DEBUG", "handlers": ["nowhere"]}}}
SECURE_HSTS_SECONDS = 60
"""
    settings.write_text(settings.read_text().replace("LOGIN_URL", own + "LOGIN_URL", 1))
    names = ("DATABASES", "CSRF_TRUSTED_ORIGINS", "LOGGING", "SECURE_HSTS_SECONDS", "MIDDLEWARE")
    found = values(guest, *names, **IN_CONTAINER)
    assert found["DATABASES"]["default"]["ATOMIC_REQUESTS"] is True
    assert found["DATABASES"]["archive"]["NAME"] == ":memory:"
    assert found["CSRF_TRUSTED_ORIGINS"] == ["https://api.example.org", "https://notes.example.org"]
    assert found["LOGGING"]["loggers"]["guestbook"] == {"level": "DEBUG"}
    assert found["SECURE_HSTS_SECONDS"] == 60
    assert found["MIDDLEWARE"][-1] == "django.contrib.auth.middleware.AuthenticationMiddleware"


def test_without_rabbitmq_nothing_is_sent_to_it(guest: Path) -> None:
    names = ("SLUICE_UPDATES_PUBLISHER_URL", "CELERY_BROKER_URL", "CHANNEL_LAYERS")
    found = values(guest, *names, RABBITMQ_CONTAINERS="0", **IN_CONTAINER)
    assert (found["SLUICE_UPDATES_PUBLISHER_URL"], found["CELERY_BROKER_URL"]) == ("", "")
    assert found["CHANNEL_LAYERS"]["default"]["BACKEND"].endswith("InMemoryChannelLayer")


def test_below_a_prefix_its_urls_and_cookies_have_it(guest: Path) -> None:
    names = ("FORCE_SCRIPT_NAME", "STATIC_URL", "MEDIA_URL", "SESSION_COOKIE_PATH")
    assert list(values(guest, *names, URL_PREFIX="/a", **IN_CONTAINER).values()) == [
        "/a",
        "/a/static/",
        "/a/media/",
        "/a/",
    ]


def test_a_module_environment_of_its_own_is_no_table(guest: Path) -> None:
    (guest / "guestbook/environment.py").write_text("raise SystemExit('imported')\n")
    assert values(guest, "DEBUG", **IN_CONTAINER) == {"DEBUG": False}


def test_a_variable_of_its_own_is_accepted_in_a_container(guest: Path) -> None:
    settings = {"DJANGO_SETTINGS_MODULE": "guestbook.settings", "MAP_TILES": "osm", **IN_CONTAINER}
    done = python(guest, "-m", "sluice_stack.environment", **settings)
    assert (done.returncode, done.stderr) == (0, "")
    done = python(guest, "-m", "sluice_stack.environment", **(settings | {"SLUICE_SERVICE": "init"}))
    assert done.returncode == 78 and "MAP_TILES is not a setting" in done.stderr


# --- its applications ---

CONSUMERS = """
from channels.generic.websocket import WebsocketConsumer
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

pages = get_asgi_application()
application = ProtocolTypeRouter({
    "http": pages,
    "websocket": URLRouter([path("channels/echo/", WebsocketConsumer.as_asgi())]),
})
"""
SPOKEN = """
import asyncio
from sluice_stack.asgi import application

async def ask(scope, *events):
    events, sent = list(events), []

    async def receive():
        return events.pop(0)

    async def send(message):
        sent.append(message)

    await application(scope | {"headers": [], "query_string": b"", "method": "GET"}, receive, send)
    return sent

async def main():
    life = {"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}
    socket = await ask({"type": "websocket", "path": "/channels/echo/"}, *life)
    page = await ask({"type": "http", "path": "/"}, {"type": "http.request"})
    print(socket[0]["type"], page[0]["status"])

asyncio.run(main())
"""


def test_its_consumers_are_served_and_its_pages_are_not(guest: Path) -> None:
    (guest / "guestbook/asgi.py").write_text(CONSUMERS)
    settings = guest / "guestbook/settings.py"
    settings.write_text(f'ASGI_APPLICATION = "guestbook.asgi.application"\n{settings.read_text()}')
    service = {"SLUICE_SERVICE": "asgi", "PUBLISHER_URL": "", "DJANGO_SETTINGS_MODULE": "guestbook.settings"}
    done = python(guest, "-c", SPOKEN, **(IN_CONTAINER | service))
    assert done.stdout == "websocket.accept 404\n", done.stderr


def test_without_a_celery_app_it_gets_one_and_its_tasks_are_found(guest: Path) -> None:
    (guest / "guestbook/tasks.py").write_text(
        "from celery import shared_task\n\n\n@shared_task\ndef count():\n    return 1\n"
    )
    code = (
        "from sluice_stack.celery.project import app;"
        "app.loader.import_default_modules(); print(sorted(app.tasks))"
    )
    environ = IN_CONTAINER | {"SLUICE_SERVICE": "celery", "DJANGO_SETTINGS_MODULE": "guestbook.settings"}
    done = python(guest, "-c", code, **environ)
    assert "guestbook.tasks.count" in done.stdout, done.stderr


# --- the build ---


def test_a_project_that_is_fit_gets_its_settings_and_variables_in_each_python(guest: Path) -> None:
    (guest / "sluice.env").write_text("# for maps\nMAP_TILES='osm'\n")
    done = built(guest)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("sluice site: guestbook.settings is fit for the stack\n")
    line = (guest.parent / "site-packages/sluice-site.pth").read_text()
    asked = f"{line.strip()}; print(os.environ['DJANGO_SETTINGS_MODULE'], os.environ['MAP_TILES'])"
    assert python(guest, "-c", asked).stdout == "guestbook.settings osm\n"
    overridden = python(guest, "-c", asked, MAP_TILES="other", DJANGO_SETTINGS_MODULE="")
    assert overridden.stdout == "guestbook.settings other\n"
    of_init = python(guest, "-c", f"{line.strip()}; print('MAP_TILES' in os.environ)", SLUICE_SERVICE="init")
    assert of_init.stdout == "False\n"


Change = Callable[[Path], object]


def without(name: str) -> Change:
    def change(folder: Path) -> None:
        settings = folder / "guestbook/settings.py"
        settings.write_text(settings.read_text().replace(name, ""))

    return change


def appended(name: str, text: str) -> Change:
    return lambda folder: add(folder / name, text)


def written(**texts: str) -> Change:
    """Files of the package guestbook, by their names without .py; settings get a line more."""

    def change(folder: Path) -> None:
        for name, text in texts.items():
            if name == "settings":
                add(folder / "guestbook/settings.py", text)
            else:
                (folder / f"guestbook/{name}.py").write_text(text)

    return change


def a_second_app_with_the_label(folder: Path) -> None:
    app = folder / "other"
    app.mkdir()
    (app / "__init__.py").touch()
    (app / "apps.py").write_text(
        "from django.apps import AppConfig\n\n\n"
        "class Other(AppConfig):\n    name = 'other'\n    label = 'sluice_updates'\n"
    )
    settings = folder / "guestbook/settings.py"
    settings.write_text(settings.read_text().replace('["sluice_updates"]', '["sluice_updates", "other"]'))


def a_picture_that_is_missing(folder: Path) -> None:
    (folder / "guestbook/static").mkdir()
    (folder / "guestbook/static/site.css").write_text("a { background: url(nowhere.png) }")
    storage = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
    collected = str(folder.parent / "collected")
    lines = f"STORAGES = {{'staticfiles': {{'BACKEND': '{storage}'}}}}\nSTATIC_ROOT = '{collected}'\n"
    add(folder / "guestbook/settings.py", lines)


def no_names(folder: Path) -> None:
    for name in ("manage.py", "guestbook/wsgi.py"):
        (folder / name).write_text("")


UNFIT: dict[str, tuple[Change, str]] = {
    "no manage.py": (lambda folder: (folder / "manage.py").unlink(), "has no manage.py; name the folder"),
    "no names": (no_names, "manage.py names no settings module; set SITE_SETTINGS"),
    "another settings module": (
        lambda folder: (folder / "guestbook/settings.py").unlink(),
        "there is no settings module guestbook.settings (guestbook/settings.py)",
    ),
    "a package that is missing": (
        written(settings="import nowhere\n"),
        "the settings module guestbook.settings can't be used: ModuleNotFoundError: No module named 'nowhere'"
        " [guestbook/settings.py, line",
    ),
    "a variable that is missing": (
        written(settings="import os\nos.environ['MAP_KEY']\n"),
        "KeyError: 'MAP_KEY' [guestbook/settings.py, line",
    ),
    "a syntax error": (written(settings="DEBUG =\n"), "SyntaxError: invalid syntax"),
    "a settings module that exits": (
        written(settings="raise SystemExit('no licence')\n"),
        "the settings module guestbook.settings can't be imported: it ends Python (no licence)",
    ),
    "no auth": (without('    "django.contrib.auth",\n'), "INSTALLED_APPS lacks django.contrib.auth"),
    "no sessions": (
        without('    "django.contrib.sessions.middleware.SessionMiddleware",\n'),
        "MIDDLEWARE lacks django.contrib.sessions.middleware.SessionMiddleware",
    ),
    "no updates": (without('INSTALLED_APPS += ["sluice_updates"]'), "INSTALLED_APPS lacks sluice_updates"),
    "no configure": (
        without("configure(globals())"),
        "guestbook.settings does not take the stack's settings; write these at its end, or run make init",
    ),
    "an app that can't be imported": (
        appended("guestbook/models.py", "import nowhere\n"),
        "an app of INSTALLED_APPS can't be used: ModuleNotFoundError",
    ),
    "two apps with one label": (
        a_second_app_with_the_label,
        "an app of INSTALLED_APPS can't be used: ImproperlyConfigured: Application labels aren't unique",
    ),
    "URLs that can't be imported": (
        appended("guestbook/urls.py", "import nowhere\n"),
        "ROOT_URLCONF, guestbook.urls, can't be used: ModuleNotFoundError",
    ),
    "no URLs": (
        without('ROOT_URLCONF = "guestbook.urls"'),
        "guestbook.settings sets no ROOT_URLCONF; name the module of the URLs there",
    ),
    "a WSGI application that can't be imported": (
        appended("guestbook/wsgi.py", "import nowhere\n"),
        "the WSGI application can't be used: ",
    ),
    "Celery's own class": (
        written(celery="from celery import Celery\n\napp = Celery('guestbook')\n"),
        "from sluice_stack.celery.application import Celery",
    ),
    "rights of an unknown role": (
        written(
            grants='GRANTS = {"web": {}}\n', settings='SLUICE_STACK_GRANTS = "guestbook.grants.GRANTS"\n'
        ),
        "SLUICE_STACK_GRANTS can't be used: guestbook.grants.GRANTS has the role web, which no service uses",
    ),
    "a rule of rights that is missing": (
        written(settings='SLUICE_UPDATES_MAY_READ = "guestbook.rights.may_read"\n'),
        "manage.py check finds sluice_updates.",
    ),
    "a stack's setting in sluice.env": (
        lambda folder: (folder / "sluice.env").write_text("DATABASE_URL=postgresql://x@y/z\n"),
        "sluice.env sets DATABASE_URL, which is a setting of the stack; remove that line",
    ),
    "static files that lack one": (
        a_picture_that_is_missing,
        "collectstatic: the static files can't be used: ",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_project_that_is_unfit_gets_one_sentence_with_the_fix(guest: Path, name: str) -> None:
    change, expected = UNFIT[name]
    change(guest)
    assert expected in refusal(built(guest))


def test_the_settings_of_the_deployment_are_preferred_to_those_of_development(tmp_path: Path) -> None:
    (tmp_path / "notes/settings").mkdir(parents=True)
    for name in ("dev", "production"):
        (tmp_path / f"notes/settings/{name}.py").touch()
    setting = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notes.settings.{}")\n'
    (tmp_path / "manage.py").write_text(setting.format("dev"))
    assert facts.settings_module(tmp_path) == "notes.settings.dev"
    (tmp_path / "notes/wsgi.py").write_text(setting.format("production"))
    assert facts.settings_module(tmp_path) == "notes.settings.production"
    assert facts.settings_module(tmp_path, "notes.settings.dev") == "notes.settings.dev"


def test_a_version_outside_the_stacks_limits_is_named() -> None:
    installed = {"celery": "5.3.0", "Django": "6.1"}.__getitem__
    limits = ["celery<6,>=5.5; extra == 'async'", "Django<6.2,>=5.2"]
    assert list(misfits(limits, installed)) == ["celery 5.3.0 instead of celery<6,>=5.5"]
