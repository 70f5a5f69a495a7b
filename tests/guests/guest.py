"""A project that moves in: its folder, the lines that it needs, its images, its stack."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.compose import SOURCE
from harness.engine import OWNER_LABEL, PREFIX, run_id
from harness.images import build_images, build_settings
from harness.site import TIMEOUT, Browser
from harness.stack import Stack

APPLICATION = ("wsgi", "asgi", "worker")  # the services whose images have the site


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

    def move_in(self, settings: str = "") -> str:
        """What `make init` does: sluice_init in the image of the tools. Returns what it prints.

        The folder is copied in and out, since the engine may not see it.
        """
        tools = f"sluice-tools:{self.tag}"
        build = ["build", "--quiet", "--file", "images/app/Dockerfile", "--target", "tools", "--tag", tools]
        given = build_settings()
        if base := given.get("BASE_IMAGE"):
            build += ["--build-arg", f"BASE_IMAGE={base}"]
        authorities = given.get("CA_CERTIFICATES", "images/base/ca-certificates")
        contexts = [f"site={self.folder}", f"ca-certificates={authorities}"]
        docker(*build, *(word for context in contexts for word in ("--build-context", context)), ".")
        label = f"{OWNER_LABEL}={PREFIX}-{run_id()}-{self.name}"
        options = ["--network", "none", "--label", label, "--env", f"DJANGO_SETTINGS_MODULE={settings}"]
        if not settings:
            options = options[:-2]
        container = docker("create", *options, tools, "sluice_init", "--stack", "--yes").strip()
        try:
            docker("cp", f"{self.folder}/.", f"{container}:/opt/sluice/app")
            said = docker("start", "--attach", container)
            docker("cp", f"{container}:/opt/sluice/app/.", str(self.folder))
        finally:
            docker("rm", "--force", container)
        return said

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


def docker(*arguments: str) -> str:
    """Run the engine's client in the repository. Returns what it prints."""
    done = subprocess.run(
        ["docker", *arguments],
        cwd=SOURCE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"docker {arguments[0]}: {done.stdout[-4000:]}"
    return done.stdout
