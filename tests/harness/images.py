"""The images under test, built once per run from the working tree, under a tag of this run's own."""

import os
import subprocess
from pathlib import Path

from .compose import SOURCE
from .engine import run_id


def ensure_images(scratch: Path) -> str:
    """Build all images and return their tag. With SLUICE_IMAGE_TAG set, return that tag and build nothing.

    The build cache makes this a matter of seconds if nothing changed. BASE_IMAGE and CA_CERTIFICATES, which
    only a build needs, come from the environment, or else from the operator's `.env`.
    """
    if given := os.environ.get("SLUICE_IMAGE_TAG"):
        return given
    tag = f"e2e-{run_id()}"
    build_images(scratch, tag)
    return tag


def build_images(scratch: Path, tag: str, *services: str, **settings: str) -> None:
    """Build the images of all services, or of these, with the operator's settings. Raises BuildFailed."""
    env_file = scratch / "build.env"
    settings = {"IMAGE_TAG": tag} | build_settings() | settings
    env_file.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    command = ["docker", "compose", "--progress", "plain", "--env-file", str(env_file), "build", *services]
    built = subprocess.run(
        command,
        cwd=SOURCE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3600,
        env=_plain_environment(),
    )
    if built.returncode:
        raise BuildFailed(f"{' '.join(command)}: status {built.returncode}\n{built.stdout[-20000:]}")


class BuildFailed(AssertionError):
    """The text has the end of the build's output."""


def build_settings() -> dict[str, str]:
    """The settings that only a build needs."""
    names = ("BASE_IMAGE", "CA_CERTIFICATES")
    found = _env_file(SOURCE / ".env") | os.environ
    return {name: found[name] for name in names if found.get(name)}


def _env_file(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    pairs = (
        line.partition("=") for line in path.read_text().splitlines() if line and not line.startswith("#")
    )
    return {key.strip(): value.strip().strip("'\"") for key, _, value in pairs}


def _plain_environment() -> dict[str, str]:
    kept = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "LANG")
    return {name: os.environ[name] for name in kept if name in os.environ}
