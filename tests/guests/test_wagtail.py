"""Wagtail's start project, from PyPI: a package of settings, a pattern that takes every path, Django 6.1."""

from __future__ import annotations

import io
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
from PIL import Image

from guests.events import events
from guests.guest import Guest, GuestStack, copied
from harness.doctor import IN_CONTAINER, bad, findings
from harness.images import build_settings
from harness.site import Browser

VERSION = "8.0.1"
SETTINGS = {"MAX_BODY_SIZE": "10m", "MEDIA_MODE": "rw", "PUBLIC_MEDIA": "yes"}
ANNOUNCE = """

from django.dispatch import receiver
from wagtail.signals import page_published

from sluice_updates import publish


@receiver(page_published)
def announce(instance, **kwargs):
    publish("all", "page-published", {"title": instance.title})
"""
PUBLISH = """
from wagtail.models import Page
page = Page.objects.get(slug="home").specific
page.title = "News"
page.save_revision().publish()
"""


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Guest:
    folder = tmp_path_factory.mktemp("site")
    original = started(folder / "original")
    guest = copied(original, folder / "wagtail")
    guest.move_in("pages.settings.production")
    assert guest.changed_lines(original) <= 10
    guest.add("home/models.py", ANNOUNCE)
    return guest


def started(folder: Path) -> Path:
    """What `wagtail start pages` writes: its template is in the wheel."""
    authorities = folder.parent / "authorities.pem"
    found = [Path("/etc/ssl/certs/ca-certificates.crt")]
    if given := build_settings().get("CA_CERTIFICATES"):
        found += sorted(Path(given).rglob("*.crt"))
    authorities.write_text("\n".join(path.read_text() for path in found if path.is_file()))
    wheels = folder.parent / "wheels"
    pip = [sys.executable, "-m", "pip", "--cert", str(authorities), "download", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--only-binary", ":all:", "--dest", str(wheels), f"wagtail=={VERSION}"], check=True)
    (wheel,) = wheels.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder.parent / "unpacked")
    folder.mkdir()
    template = folder.parent / "unpacked/wagtail/project_template"
    command = [
        "startproject",
        f"--template={template}",
        "--ext=html,rst",
        "--name=Dockerfile",
        "pages",
        str(folder),
    ]
    subprocess.run([sys.executable, "-m", "django", *command], check=True)
    return folder


@pytest.fixture(scope="module")
def stack(guest: Guest, image_tag: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuestStack]:
    tag = guest.build(tmp_path_factory.mktemp("build"), SITE_SETTINGS="pages.settings.production")
    stack = GuestStack(tag, SETTINGS)
    with stack:
        yield stack


def signed_in(stack: GuestStack, name: str) -> Browser:
    """A browser with a session that the site itself has made."""
    code = (
        "from django.contrib.auth import get_user_model; from django.test import Client; client = Client();"
        f"user, _ = get_user_model().objects.get_or_create(username={name!r});"
        "client.force_login(user); print(client.cookies['sessionid'].value)"
    )
    browser = Browser(stack.url)
    browser.http.cookies.set("sessionid", stack.manage(code).strip().splitlines()[-1])
    return browser


def test_a_published_page_reaches_a_reader_within_a_second(stack: GuestStack) -> None:
    with events(signed_in(stack, "bob")) as frames:
        stack.manage(PUBLISH)
        published = time.monotonic()
        frame = next(frames)
        assert time.monotonic() - published < 1.0
    assert (frame["event"], frame["payload"]) == ("page-published", {"title": "News"})
    assert "<title>" in stack.browser().get("/").text


def test_its_django_is_its_own(stack: GuestStack) -> None:
    assert stack.manage("import django; print(django.VERSION[:2])") == "(6, 1)\n"


def test_a_picture_of_2_mb_is_uploaded_and_served_by_nginx(stack: GuestStack) -> None:
    noise = numpy.random.default_rng(1).integers(0, 255, (900, 900, 3), dtype="uint8")
    picture = io.BytesIO()
    Image.fromarray(noise).save(picture, "PNG")
    assert len(picture.getvalue()) > 2_000_000
    admin = signed_in(stack, "admin")
    admin.get("/admin/images/add/")
    answer = admin.http.post(
        f"{stack.url}/admin/images/add/",
        {"title": "Noise", "csrfmiddlewaretoken": admin.csrf_token},
        files={"file": ("noise.png", picture.getvalue(), "image/png")},
        headers={"Referer": f"{stack.url}/admin/"},
        allow_redirects=False,
        timeout=60,
    )
    assert answer.status_code == 302, (answer.status_code, answer.text[:400])
    asked = "from wagtail.images.models import Image; print(Image.objects.get(title='Noise').file.url)"
    served = stack.browser().get(stack.manage(asked).strip())
    assert (served.status_code, served.content) == (200, picture.getvalue())


@pytest.mark.parametrize("service", ["wsgi", "asgi", "worker", "celery", "beat"])
def test_the_doctor_passes(stack: GuestStack, service: str) -> None:
    inside = () if service == "wsgi" else ("--inside",)
    done = stack.service(service)[0].exec(*IN_CONTAINER, *inside)
    assert (bad(findings(done.output)), done.code) == ([], 0)
