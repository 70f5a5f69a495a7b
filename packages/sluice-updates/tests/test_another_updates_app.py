"""A project whose own app is labelled `updates` too: same label, models, URLs, static files and templates."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from harness.servers import Postgres
from updates_lab.site import environment

FILES = {
    "updates/__init__.py": "",
    "updates/models.py": """
from django.db import models

class Stream(models.Model):
    name = models.CharField(max_length=20)

class Update(models.Model):
    stream = models.ForeignKey(Stream, on_delete=models.CASCADE)
    text = models.TextField()
""",
    "updates/migrations/__init__.py": "",
    "updates/urls.py": """
from django.http import HttpResponse
from django.urls import path

app_name = "updates"
urlpatterns = [path("", lambda request: HttpResponse("theirs"), name="poll")]
""",
    "updates/static/updates/updates.js": "export const theirs = true;",
    "updates/templatetags/__init__.py": "",
    "updates/templatetags/updates.py": """
from django import template

register = template.Library()
register.simple_tag(lambda: "theirs", name="updates")
""",
    "other_urls.py": """
from django.urls import include, path

urlpatterns = [
    path("updates/", include("updates.urls")),
    path("push/", include("sluice_updates.urls")),
]
""",
    "other_settings.py": """
from hubsite.settings import *

INSTALLED_APPS = ["updates", *INSTALLED_APPS]
ROOT_URLCONF = "other_urls"
SLUICE_UPDATES_SITE_URL = ""
""",
    "work.py": """
import django

django.setup()

from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.db import connection, connections
from django.http import HttpResponse
from django.template import engines
from django.test import RequestFactory
from django.urls import reverse

call_command("makemigrations", "updates", verbosity=0)
call_command("makemigrations", check=True, dry_run=True, verbosity=0)
call_command("migrate", verbosity=0)
call_command("check", fail_level="WARNING")

from updates.models import Stream, Update

from sluice_updates import history, models, publish
from sluice_updates.page import follows

theirs = Update.objects.create(stream=Stream.objects.create(name="all"), text="theirs")
publish("all", "ours", {})
assert Update.objects.get().text == "theirs" and models.Update.objects.get().event == "ours"
assert history.heads(["all"])["all"].head.offset == 1
assert {"updates_update", "sluice_updates_update"} <= set(connection.introspection.table_names())
assert (reverse("updates:poll"), reverse("sluice_updates:poll")) == ("/updates/", "/push/")
assert finders.find("updates/updates.js") != finders.find("sluice_updates/updates.js")

request = RequestFactory().get("/")
request.user = User(pk=7)
tags = engines["django"].from_string(
    "{% load updates sluice_updates %}{% updates %} {% sluice_updates %}"
)
page = follows("all")(lambda request: HttpResponse(tags.render({}, request)))(request).content.decode()
assert page.startswith("theirs ") and '"poll": "/push/"' in page and '"all": "1-' in page

call_command("migrate", "sluice_updates", "zero", verbosity=0)
assert Update.objects.get().text == "theirs"
call_command("migrate", verbosity=0)
assert Update.objects.get().text == "theirs" and not models.Update.objects.exists()
connections.close_all()
print("done")
""",
}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/other.sqlite3"
    server: Postgres = request.getfixturevalue("postgresql")
    name = f"other_{os.getpid()}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return urlsplit(server.url)._replace(path=f"/{name}").geturl()


def test_both_work(url: str, tmp_path: Path) -> None:
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    variables = environment(DATABASE_URL=url, DJANGO_SETTINGS_MODULE="other_settings")
    variables["PYTHONPATH"] += f":{tmp_path}"
    done = subprocess.run(
        [sys.executable, "work.py"], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.endswith("done\n"), done.stdout + done.stderr
