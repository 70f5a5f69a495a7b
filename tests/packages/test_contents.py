"""The contents of the wheels and sdists."""

from __future__ import annotations

import email
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from .conftest import PACKAGES, wheel

SOURCE = Path(__file__).resolve().parents[2]
# The data files that other projects need at run time.
DATA = {
    "sluice-layer": {"sluice_layer/py.typed"},
    "sluice-updates": {
        "sluice_updates/py.typed",
        "sluice_updates/PROTOCOL.md",
        *(
            f"sluice_updates/static/sluice_updates/{path.name}"
            for path in SOURCE.glob("packages/sluice-updates/src/sluice_updates/static/sluice_updates/*")
        ),
    },
    "sluice-stack": {"sluice_stack/py.typed", "sluice_stack/templates/503.html"},
}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_wheel_holds_the_sources_and_nothing_else(dist: Path, package: str) -> None:
    source = SOURCE / "packages" / package / "src"
    python = {str(path.relative_to(source)) for path in source.rglob("*.py")}
    with zipfile.ZipFile(wheel(dist, package)) as archive:
        found = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert found == python | DATA[package]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_metadata_is_complete(dist: Path, package: str) -> None:
    with zipfile.ZipFile(wheel(dist, package)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
        licences = [name for name in archive.namelist() if "/licenses/LICENSE" in name]
    assert metadata["Name"] == package and licences
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata["Requires-Python"] and metadata["Summary"]
    assert metadata["Version"] == (SOURCE / "VERSION").read_text().strip()


@pytest.mark.parametrize("package", PACKAGES)
def test_the_licence_is_the_projects(package: str) -> None:
    assert (SOURCE / "packages" / package / "LICENSE").read_bytes() == (SOURCE / "LICENSE").read_bytes()


def test_the_protocol_in_the_package_is_the_reference_page() -> None:
    page = SOURCE / "docs/reference/protocol.md"
    copy = SOURCE / "packages/sluice-updates/src/sluice_updates/PROTOCOL.md"
    assert copy.read_bytes() == page.read_bytes()


@pytest.mark.parametrize("package", PACKAGES)
def test_the_sdist_builds_the_same(dist: Path, package: str) -> None:
    (sdist,) = dist.glob(f"{package.replace('-', '_')}-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    project = tomllib.loads((SOURCE / "packages" / package / "pyproject.toml").read_text())["project"]
    assert {"pyproject.toml", "README.md", "LICENSE", project["readme"]} <= names
    with zipfile.ZipFile(wheel(dist, package)) as archive:
        wheels = {f"src/{name}" for name in archive.namelist() if ".dist-info/" not in name}
    assert wheels <= names
