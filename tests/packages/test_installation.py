"""A new project in an empty environment: `manage.py check`, and one push to a browser."""

from __future__ import annotations

import os
import subprocess
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect, sync_playwright

from harness.chromium import EXECUTABLE, FLAGS
from harness.servers import free_port
from harness.waiting import wait_until

SETTINGS = """
INSTALLED_APPS += ["sluice_updates"]
DATABASES["default"]["OPTIONS"] = {
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode = WAL",
}
ALLOWED_HOSTS = ["127.0.0.1"]
"""

URLS = """
from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.template import engines
from django.urls import include, path

from sluice_updates.page import follows

PAGE = '''{% load static sluice_updates %}<!doctype html><title>Guest</title>
{% sluice_updates %}<p id="news"></p><p id="state"></p>
<script type="module">
  import { updates } from "{% static 'sluice_updates/page.js' %}";
  const show = () => { document.getElementById("state").textContent = updates.state; };
  updates.on("note", ({ text }) => { document.getElementById("news").textContent = text; });
  updates.addEventListener("state", show);
</script>'''


@login_required(login_url="/admin/login/")
@follows("all")
def page(request):
    return HttpResponse(engines["django"].from_string(PAGE).render({}, request))


urlpatterns = [
    path("admin/", admin.site.urls),
    path("push/news/", include("sluice_updates.urls")),
    path("", page),
]
"""

ASGI = """
import os

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "guest.settings")
pages = ASGIStaticFilesHandler(get_asgi_application())

from sluice_updates.asgi import application as updates

application = updates(otherwise=pages)
"""


class Project:
    """The output of `startproject`, plus the lines of the README."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder = folder
        self.python = python
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("DJANGO_", "PYTHON"))
            },
            "DJANGO_SETTINGS_MODULE": "guest.settings",
        }
        subprocess.run([python, "-m", "django", "startproject", "guest", folder], check=True)
        (folder / "guest/urls.py").write_text(textwrap.dedent(URLS))
        (folder / "guest/asgi.py").write_text(textwrap.dedent(ASGI))
        with (folder / "guest/settings.py").open("a") as settings:
            settings.write(SETTINGS)

    def manage(self, *arguments: str) -> str:
        """Run a management command and return its output. Raises CalledProcessError."""
        run = subprocess.run(
            [self.python, "manage.py", *arguments],
            cwd=self.folder,
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return run.stdout

    @contextmanager
    def served(self) -> Iterator[str]:
        """The site's address while our Daphne serves it."""
        port = free_port()
        command = [
            str(self.python),
            "-m",
            "sluice_updates.server",
            "--port",
            str(port),
            "guest.asgi:application",
        ]
        process = subprocess.Popen(command, cwd=self.folder, env=self.environment)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until(lambda: _answers(address), 20, "the server to answer", fatal=lambda: _ended(process))
            yield address
        finally:
            process.terminate()
            assert process.wait(20) == 0


def _answers(address: str) -> bool:
    try:
        return requests.get(f"{address}/channels/healthz", timeout=2).ok
    except requests.ConnectionError:
        return False


def _ended(process: subprocess.Popen[bytes]) -> str | None:
    return None if process.poll() is None else f"the server ended with {process.returncode}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, empty_environment: Path) -> Project:
    project = Project(tmp_path_factory.mktemp("guest"), empty_environment)
    project.manage("migrate", "--verbosity", "0")
    return project


def test_the_checks_find_nothing(project: Project) -> None:
    assert "no issues" in project.manage("check", "--fail-level", "WARNING")


def test_no_migration_is_missing(project: Project) -> None:
    project.manage("makemigrations", "--check", "--dry-run")


def test_a_push_reaches_a_browser(project: Project) -> None:
    project.manage("shell", "-c", "\n".join([
        "from django.contrib.auth import get_user_model",
        "get_user_model().objects.create_superuser('ada', password='a-pass-for-ada')",
    ]))  # fmt: skip
    with project.served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=list(FLAGS))
        page = browser.new_page()
        page.goto(address)
        page.fill("[name=username]", "ada")
        page.fill("[name=password]", "a-pass-for-ada")
        page.click("[type=submit]")
        expect(page.locator("#state")).to_have_text("live")
        project.manage("shell", "-c", "\n".join([
            "from sluice_updates import publish",
            "publish('all', 'note', {'text': 'Moved in.'})",
        ]))  # fmt: skip
        expect(page.locator("#news")).to_have_text("Moved in.")
        browser.close()
