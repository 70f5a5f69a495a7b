"""A project that moves in: its folder, the lines that it needs, its images, its stack."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.compose import SOURCE
from harness.engine import run_id
from harness.images import build_images
from harness.site import TIMEOUT, Browser
from harness.stack import Stack

APPLICATION = ("wsgi", "asgi", "worker")  # the services whose images have the site
STACK_LINES = """
INSTALLED_APPS = [*INSTALLED_APPS, "sluice_updates"]
from sluice_stack.project import configure  # noqa: E402

configure(globals())
"""
POLLING = """
from django.urls import include, path  # noqa: E402

urlpatterns = [path("updates/", include("sluice_updates.urls")), *urlpatterns]
"""


@dataclass
class Guest:
    """A project's folder. Paths are relative to it."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def tag(self) -> str:
        """The tag of its images, which `sweep` removes."""
        return f"e2e-{run_id()}-{self.name}"

    def add(self, path: str, text: str) -> None:
        """Append to a file, or create it."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as opened:
            opened.write(text)

    def replace(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text()
        assert text.count(old) == 1, f"{path} has {text.count(old)} times {old!r}"
        file.write_text(text.replace(old, new))

    def move_in(self, settings: str, urls: str) -> None:
        """Write the lines that `make init` writes."""
        self.add(settings, STACK_LINES)
        self.add(urls, POLLING)

    def changed_lines(self, original: Path) -> int:
        """The number of lines that the project has more than the original."""
        command = ["diff", "--recursive", "--new-file", "--unified=0", str(original), str(self.folder)]
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        added = [line[1:].strip() for line in found if line.startswith("+") and not line.startswith("+++")]
        return len([line for line in added if line])

    def build(self, scratch: Path, **settings: str) -> str:
        """Build its images, and those of the other services, under its tag. Returns the tag."""
        given = {"SITE": str(self.folder), **settings}
        build_images(scratch, self.tag, **given)
        return self.tag

    def stack(self, tag: str, settings: Mapping[str, str] | None = None) -> GuestStack:
        return GuestStack(tag, settings)


class GuestStack(Stack):
    """A stack of a project whose users sign in at /login."""

    sign_in_page = "/login"

    def browser(self, name: str | None = None) -> Browser:
        browser = Browser(self.url, self.certificate)
        if name is None:
            return browser
        password = self.person(name)
        page = f"{self.url}{self.sign_in_page}"
        browser.http.get(page, timeout=TIMEOUT).raise_for_status()
        form = {"username": name, "password": password, "csrfmiddlewaretoken": browser.csrf_token}
        answer = browser.http.post(
            page, form, headers={"Referer": page}, timeout=TIMEOUT, allow_redirects=False
        )
        assert answer.status_code == 302, f"{answer.status_code} {answer.text[:400]}"
        browser.name = name
        return browser


def copied(original: Path, folder: Path) -> Guest:
    """A copy of a project."""
    shutil.copytree(original, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return Guest(folder)


def script(name: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the repository as make does."""
    return subprocess.run(
        [SOURCE / "scripts" / name, *arguments],
        cwd=SOURCE,
        env={"PATH": os.environ["PATH"], "HOME": "/tmp", **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
