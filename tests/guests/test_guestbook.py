"""The guestbook of the guides, a site without push, in the whole stack: with all services, and with few."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import connect
from websockets.typing import Origin

from guests.events import events
from guests.guest import Guest, GuestStack, copied
from harness.compose import SOURCE
from harness.doctor import IN_CONTAINER, bad, findings
from harness.stack import SERVICES
from harness.waiting import wait_until

ORIGINAL = SOURCE / "tests/bare_metal/guestbook"
FEW = {f"{name}_CONTAINERS": "0" for name in ("RABBITMQ", "WORKER", "CELERY", "BEAT")}
UPLOADS = {"MAX_BODY_SIZE": "4m", "MEDIA_MODE": "rw", "PUBLIC_MEDIA": "yes"}
CELERY = """
from sluice_stack.celery.application import Celery

app = Celery("guestbook")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""
TASKS = """
from celery import shared_task

from sluice_updates import publish


@shared_task
def greet():
    publish("all", "greeting", {"text": "from a task"})
"""
ASGI = """
import os

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "guestbook.settings")


class Bell(AsyncJsonWebsocketConsumer):
    groups = ["bell"]

    async def ring(self, message):
        await self.send_json({"for": message["for"]})


application = ProtocolTypeRouter({
    "http": get_asgi_application(),
    "websocket": URLRouter([path("channels/bell/", Bell.as_asgi())]),
})
"""
RING = """
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
async_to_sync(get_channel_layer().group_send)("bell", {"type": "ring", "for": "dinner"})
"""
COMMAND = """
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand

from guestbook.models import Note


class Command(BaseCommand):
    def handle(self, *args, **options):
        Note.objects.get_or_create(author=User.objects.get(username="admin"), text="by a command")
"""


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Guest:
    """The guestbook, moved in: at most ten lines in what it had."""
    guest = copied(ORIGINAL, tmp_path_factory.mktemp("site") / "guestbook")
    guest.add("requirements.txt", "Django>=5.2,<5.3\n")
    assert "Written: " in guest.move_in()
    guest.replace(
        "guestbook/views.py",
        '    Note.objects.create(author=request.user, text=request.POST["text"])\n',
        '    note = Note.objects.create(author=request.user, text=request.POST["text"])\n'
        '    publish("all", "new-note", {"length": len(note.text), "text": note.text[:100]})\n',
    )
    guest.replace(
        "guestbook/views.py",
        "from .models import",
        "from sluice_updates import publish\n\nfrom .models import",
    )
    assert guest.changed_lines(ORIGINAL) <= 10
    # What only some projects have.
    guest.add("guestbook/celery.py", CELERY)
    guest.add("guestbook/tasks.py", TASKS)
    guest.add("guestbook/__init__.py", "\nfrom .celery import app as celery_app  # noqa: F401\n")
    guest.add("guestbook/management/__init__.py", "")
    guest.add("guestbook/management/commands/__init__.py", "")
    guest.add("guestbook/management/commands/write_a_note.py", COMMAND)
    guest.replace(
        "guestbook/settings.py",
        "LOGIN_URL",
        'SLUICE_STACK_COMMANDS = ["write_a_note"]\nLOGIN_URL',
    )
    guest.add("guestbook/asgi.py", ASGI)
    guest.replace(
        "guestbook/settings.py",
        "WSGI_APPLICATION",
        'ASGI_APPLICATION = "guestbook.asgi.application"\nWSGI_APPLICATION',
    )
    guest.add("sluice.env", "MAP_TILES=osm\n")
    guest.add("sluice-packages.txt", "tree  # any that the images lack\n")
    return guest


@pytest.fixture(scope="module")
def tag(guest: Guest, image_tag: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return guest.build(tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def stack(tag: str) -> Iterator[GuestStack]:
    stack = GuestStack(tag, UPLOADS)
    (stack.folder / "site.env").write_text("MAP_KEY=secret\n")
    with stack:
        yield stack


@pytest.fixture(scope="module")
def small(tag: str) -> Iterator[GuestStack]:
    stack = GuestStack(tag, FEW)
    with stack:
        yield stack


def test_all_services_are_healthy(stack: GuestStack) -> None:
    stack.wait_healthy()
    assert [name for name in SERVICES if not stack.service(name).replicas] == []


def test_a_note_reaches_another_reader_within_a_second(stack: GuestStack) -> None:
    assert_pushed(stack, 1.0)


def test_without_rabbitmq_celery_and_beat_it_does_too(small: GuestStack) -> None:
    assert {name for name in SERVICES if small.service(name).replicas} == {
        "nginx",
        "wsgi",
        "asgi",
        "postgres",
    }
    assert_pushed(small, 2.0)


def assert_pushed(stack: GuestStack, seconds: float) -> None:
    alice, bob = stack.browser("alice"), stack.browser("bob")
    with events(bob) as frames:
        write(alice, "hello from a container")
        written = time.monotonic()
        frame = next(frames)
        assert time.monotonic() - written < seconds
    assert frame["event"] == "new-note" and frame["payload"]["text"] == "hello from a container"
    assert "<li>hello from a container</li>" in bob.get("/").text


def write(browser, text: str) -> None:  # type: ignore[no-untyped-def]
    fields = {"text": text, "csrfmiddlewaretoken": browser.csrf_token}
    answer = browser.http.post(
        f"{browser.url}/write", fields, headers={"Referer": browser.url}, timeout=15, allow_redirects=False
    )
    assert answer.status_code == 302, (answer.status_code, answer.text[:400])


def test_a_task_of_its_own_publishes(stack: GuestStack) -> None:
    with events(stack.browser("bob")) as frames:
        stack.manage("from guestbook.tasks import greet; greet.delay()")
        assert next(frames)["payload"] == {"text": "from a task"}


@pytest.mark.parametrize("sender", ["wsgi", "celery", "worker"])
def test_a_group_of_its_consumers_is_reached_from_each_program(stack: GuestStack, sender: str) -> None:
    with connect(f"ws://localhost:{stack.port}/channels/bell/", origin=Origin(stack.origin)) as socket:
        wait_until(
            lambda: "bell" in stack.rabbitmqctl("list_bindings", "-p", "asgi").output, 20, "the binding"
        )
        stack.manage(RING, sender)
        assert socket.recv(timeout=5) == '{"for": "dinner"}'


def test_its_pages_are_never_served_by_daphne(stack: GuestStack) -> None:
    answer = stack.ask_directly("asgi", "GET /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404") and answer.endswith(b"Not found.\n")


def test_its_health_urls_answer_in_front_of_its_own_pages(stack: GuestStack) -> None:
    browser = stack.browser()
    assert browser.http.get(f"{stack.origin}/healthz").text == "ok\n"
    assert browser.http.get(f"{stack.origin}/readyz").json()["status"] == "ok"


def test_its_command_has_run_and_its_variables_are_there(stack: GuestStack) -> None:
    assert "<li>by a command</li>" in stack.browser("alice").get("/").text
    assert stack.manage("import os; print(os.environ['MAP_TILES'], os.environ['MAP_KEY'])") == "osm secret\n"
    assert stack.service("wsgi").exec("tree", "--version").code == 0


def test_an_upload_of_2_mb_is_accepted_and_a_larger_one_names_the_setting(stack: GuestStack) -> None:
    alice = stack.browser("alice")
    alice.get("/")
    write(alice, "x" * 2_000_000)
    answer = alice.http.post(f"{stack.url}/write", b"x" * 5_000_000, timeout=15)
    assert answer.status_code == 413 and "MAX_BODY_SIZE" in answer.text


def test_gunicorn_writes_media_and_everybody_reads_it(stack: GuestStack) -> None:
    page = "<script>alert(1)</script>"
    stack.manage(
        "from django.core.files.base import ContentFile;"
        "from django.core.files.storage import default_storage as s;"
        f"print(s.save('notes/a.html', ContentFile({page!r})))"
    )
    answer = stack.browser().get("/media/notes/a.html")
    assert (answer.status_code, answer.text) == (200, page)
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert stack.browser().get("/media/").status_code == 404


def test_the_administrator_can_sign_in(stack: GuestStack) -> None:
    asked = (
        "from django.contrib.auth.models import User; print(User.objects.get(username='admin').is_superuser)"
    )
    assert stack.manage(asked) == "True\n"


@pytest.mark.parametrize("service", ["wsgi", "asgi", "worker", "celery", "beat"])
def test_the_doctor_passes(stack: GuestStack, service: str) -> None:
    inside = () if service == "wsgi" else ("--inside",)
    done = stack.service(service)[0].exec(*IN_CONTAINER, *inside)
    assert (bad(findings(done.output)), done.code) == ([], 0)


@pytest.mark.parametrize("service", ["wsgi", "asgi"])
def test_the_doctor_passes_without_the_services_that_are_off(small: GuestStack, service: str) -> None:
    inside = () if service == "wsgi" else ("--inside",)
    done = small.service(service)[0].exec(*IN_CONTAINER, *inside)
    assert (bad(findings(done.output)), done.code) == ([], 0)


def test_roles_may_use_its_tables_and_not_the_stacks(stack: GuestStack) -> None:
    asked = "SELECT has_table_privilege('{}', '{}', '{}')"
    allowed = {
        (role, table, privilege): stack.psql(asked.format(role, table, privilege))[0][0] == "t"
        for role, table, privilege in [
            ("wsgi", "guestbook_note", "INSERT"),
            ("celery", "guestbook_note", "DELETE"),
            ("asgi", "guestbook_note", "SELECT"),
            ("asgi", "guestbook_note", "INSERT"),  # it has consumers
            ("wsgi", "sluice_updates_update", "DELETE"),
            ("wsgi", "sluice_updates_update", "INSERT"),
            ("wsgi", "django_migrations", "SELECT"),
            ("beat", "sluice_updates_update", "DELETE"),
        ]
    }
    assert [name for name, value in allowed.items() if value] == [
        ("wsgi", "guestbook_note", "INSERT"),
        ("celery", "guestbook_note", "DELETE"),
        ("asgi", "guestbook_note", "SELECT"),
        ("asgi", "guestbook_note", "INSERT"),
        ("beat", "sluice_updates_update", "DELETE"),
    ]


def test_a_table_of_the_future_is_open_too(stack: GuestStack) -> None:
    code = "from django.db import connection as c; c.cursor().execute('CREATE TABLE later (id serial)')"
    stack.compose.run("run", "--rm", "--no-deps", "migrate", "python", "manage.py", "shell", "-c", code)
    assert stack.psql("SELECT has_table_privilege('celery', 'later', 'INSERT')") == [["t"]]


def test_without_beat_gunicorn_trims(small: GuestStack) -> None:
    assert "there is no beat, so this process does: trim updates" in small.service("wsgi").logs()
    small.manage("from sluice_updates import publish; publish('all', 'old', {})")
    small.psql("UPDATE sluice_updates_update SET created = created - interval '30 days'")
    jobs = "[h.run(name, job['task']) for name, job in h.JOBS.items()]"
    small.manage(f"from sluice_stack import housekeeping as h; {jobs}")
    assert small.psql("SELECT count(*) FROM sluice_updates_update") == [["0"]]


def test_a_build_that_fails_names_the_fix_and_touches_nothing(
    guest: Guest, image_tag: str, tmp_path: Path
) -> None:
    from harness.images import BuildFailed

    broken = copied(guest.folder, tmp_path / "broken")
    broken.add("requirements.txt", "Django<5\n")
    broken.replace("requirements.txt", "Django>=5.2,<5.3\n", "")
    with pytest.raises(
        BuildFailed, match=r"sluice site: the project's requirements install Django 4\.2\.\d+"
    ):
        broken.build(tmp_path)
