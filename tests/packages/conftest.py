"""The distributions in /results/dist, and a new environment into which they are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

DIST = Path(os.environ.get("SLUICE_DIST", "/results/dist"))
PACKAGES = ("sluice-layer", "sluice-stack", "sluice-updates")


@pytest.fixture(scope="session")
def dist() -> Path:
    """The folder that contains the wheels and sdists."""
    assert DIST.is_dir(), f"{DIST} does not exist: `make packages` builds the packages, then runs these tests"
    return DIST


def wheel(dist: Path, package: str) -> Path:
    """The package's only wheel."""
    (found,) = dist.glob(f"{package.replace('-', '_')}-*.whl")
    return found


@pytest.fixture(scope="session")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of certificate authorities: the image's, and those of a network that inspects TLS."""
    bundle = tmp_path_factory.mktemp("ca") / "ca.pem"
    files = [Path("/etc/ssl/certs/ca-certificates.crt")]
    if folder := os.environ.get("CA_CERTIFICATES"):
        files += sorted(Path(folder).rglob("*.crt"))
    bundle.write_text("\n".join(file.read_text() for file in files if file.is_file()))
    return str(bundle)


@pytest.fixture(scope="session")
def empty_environment(tmp_path_factory: pytest.TempPathFactory, dist: Path, authorities: str) -> Path:
    """The Python of a new virtual environment with the wheels of sluice-layer and sluice-updates."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    wanted = [str(wheel(dist, "sluice-layer")), f"{wheel(dist, 'sluice-updates')}[asgi,rabbitmq]"]
    subprocess.run(
        [*pip, "--disable-pip-version-check", *wanted],
        check=True,
        env={**os.environ, "PIP_CERT": authorities},
    )
    return python
