"""`publish` in a signal handler, in the admin site, and in a view with ATOMIC_REQUESTS.

The snippets are those of docs/how-to/add-push.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from updates_lab.site import environment

NOTES = {
    "apps.py": """
from django.apps import AppConfig


class NotesConfig(AppConfig):
    name = "notes"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        from . import signals
""",
    "models.py": """
from django.db import models


class Note(models.Model):
    text = models.TextField()


class Other(models.Model):
    text = models.TextField()
""",
    "signals.py": """
from django.db.models.signals import post_save
from django.dispatch import receiver

from notes.models import Note
from sluice_updates import publish


@receiver(post_save, sender=Note)
def note_saved(sender, instance, created, **kwargs):
    publish("all", "new-note" if created else "changed-note", {"text": instance.text})
""",
    "admin.py": """
from django.contrib import admin

from notes.models import Other
from sluice_updates import publish


@admin.register(Other)
class OtherAdmin(admin.ModelAdmin):
    def save_model(self, request, obj, form, change):
        super().save_model(request, obj, form, change)
        publish("all", "changed-other" if change else "new-other", {"text": obj.text})
        if obj.text == "fails":
            raise RuntimeError("after publishing")
""",
    "views.py": """
from django.http import HttpResponse

from notes.models import Note


def write(request):
    Note.objects.create(text=request.GET["text"])
    if request.GET["text"] == "fails":
        raise RuntimeError("after publishing")
    return HttpResponse("written")
""",
}
BEGIN = """
import json
from django.core.management import call_command
from django.test import Client
from sluice_updates.models import Update

call_command("migrate", verbosity=0)
browser = Client(raise_request_exception=False, headers={"host": "localhost"})
"""
END = """
print(json.dumps([[each.event, each.payload] for each in Update.objects.order_by("pk")]))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    call_command("startproject", "site1", str(tmp_path))
    (tmp_path / "notes/migrations").mkdir(parents=True)
    (tmp_path / "notes/migrations/__init__.py").write_text("")
    for name, text in NOTES.items():
        (tmp_path / "notes" / name).write_text(text)
    with (tmp_path / "site1/settings.py").open("a") as file:
        file.write("\nINSTALLED_APPS += ['notes']\nDATABASES['default']['ATOMIC_REQUESTS'] = True\n")
    with (tmp_path / "site1/urls.py").open("a") as file:
        file.write("\nfrom notes.views import write\nurlpatterns += [path('write', write)]\n")
    _run(tmp_path, "-m", "sluice_updates.management.commands.sluice_init", "--yes")
    _run(tmp_path, "manage.py", "makemigrations", "--verbosity", "0", "notes")
    return tmp_path


def _published(project: Path, code: str) -> list[tuple[str, Any]]:
    """The updates that the project publishes while it runs the code: (event, text)."""
    said = _run(project, "manage.py", "shell", "--verbosity", "0", "-c", BEGIN + code + END)
    return [(event, json.loads(payload)["text"]) for event, payload in json.loads(said.splitlines()[-1])]


def _run(project: Path, *arguments: str) -> str:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env={name: value for name, value in environment().items() if name != "DJANGO_SETTINGS_MODULE"},
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    ).stdout


def test_a_signal_handler(project: Path) -> None:
    code = """
from django.db import transaction
from notes.models import Note

note = Note.objects.create(text="one")
note.save()
try:
    with transaction.atomic():
        Note.objects.create(text="rolled back")
        raise RuntimeError
except RuntimeError:
    pass
"""
    assert _published(project, code) == [("new-note", "one"), ("changed-note", "one")]


def test_a_view_with_atomic_requests_and_the_admin_site(project: Path) -> None:
    """Each request is one transaction: what fails after publishing publishes nothing. Polling works."""
    code = """
from django.contrib.auth.models import User

browser.force_login(User.objects.create_superuser("admin"))
statuses = [
    browser.get("/write?text=two").status_code,
    browser.get("/write?text=fails").status_code,
    browser.post("/admin/notes/other/add/", {"text": "three"}).status_code,
    browser.post("/admin/notes/other/add/", {"text": "fails"}).status_code,
    browser.get("/updates/?streams=all&since=all/0-0").status_code,
]
assert statuses == [200, 500, 302, 500, 200], statuses
"""
    assert _published(project, code) == [("new-note", "two"), ("new-other", "three")]
