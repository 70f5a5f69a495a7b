"""The servers from the package index, beside the test image's own packages, and a site that they serve."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from updates_lab.site import Site, environment

REQUIREMENTS = Path(__file__).parent / "requirements.txt"


@pytest.fixture(scope="session")
def python_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """PYTHONPATH with the servers, at the versions of requirements.txt."""
    folder = tmp_path_factory.mktemp("servers")
    bundle = folder / "ca.pem"
    authorities = [Path("/etc/ssl/certs/ca-certificates.crt")]
    if certificates := os.environ.get("CA_CERTIFICATES"):
        authorities += sorted(Path(certificates).rglob("*.crt"))
    bundle.write_text("\n".join(file.read_text() for file in authorities if file.is_file()))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "--require-hashes", "--target", folder / "packages", "--requirement", REQUIREMENTS],
        check=True,
        env=os.environ | {"PIP_CERT": str(bundle)},
    )
    return os.pathsep.join([environment()["PYTHONPATH"], str(folder / "packages")])


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site, on SQLite."""
    site = Site(f"sqlite://{tmp_path_factory.mktemp('site')}/site.sqlite3")
    try:
        site.migrate()
        yield site
    finally:
        site.close()
