"""The doctor finds folders that crops can't be written to, and images that can't be read, as root leaves
them.
"""

from __future__ import annotations

import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.doctor.house import House, Said

USUAL = pwd.getpwnam("www-data")


@pytest.fixture
def data() -> Iterator[Path]:
    """A host's /var/lib/sluice, all owned by the programs' user."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        store = folder / "volumes/a.zarr"
        for made in (folder / "media", folder / "media/crops", folder / "volumes", store):
            made.mkdir()
            os.chown(made, USUAL.pw_uid, USUAL.pw_gid)
        (store / "zarr.json").write_text("{}")
        yield folder


def examined(house: House, data: Path) -> Said:
    """Run the doctor with settings that no program uses. It then assumes www-data, as in the guide."""
    etc = data / "etc"
    etc.mkdir()
    for file in house.etc.glob("*.env"):
        text = file.read_text()
        for name in ("media", "volumes"):
            text = text.replace(f"={house.folder}/{name}\n", f"={data}/{name}\n")
        (etc / file.name).write_text(text)
    environment = {"SLUICE_ENV_FILE": str(etc / "sluice.env")}
    return house.doctor("--inside", "--only", "files", environment=environment)


def test_it_passes_where_all_files_are_the_programs(house: House, data: Path) -> None:
    (data / "volumes/lost+found").mkdir(mode=0o700)
    said = examined(house, data)
    assert said.bad == [] and {one["where"] for one in said.findings} == {
        *("gunicorn", "channels-worker", "celery", "beat")
    }


def test_crops_that_root_has_cut(house: House, data: Path) -> None:
    os.chown(data / "media/crops", 0, 0)
    said = examined(house, data)
    assert {where for _, where, _ in said.bad} == {"celery", "beat"} and said.code == 1
    assert said.of("files", "celery")["message"].startswith(
        f"www-data can't write crops to {data}/media/crops or remove them"
    )
    assert said.of("files", "beat")["fix"].startswith(f"chown --recursive www-data {data}/media ")


def test_a_folder_that_is_not_there_yet_in_one_of_roots(house: House, data: Path) -> None:
    (data / "media/crops").rmdir()
    (data / "media").rmdir()
    assert (
        f"can't write crops to {data} or remove them"
        in examined(house, data).of("files", "celery")["message"]
    )


@pytest.mark.parametrize("hidden", ["volumes", "volumes/a.zarr", "volumes/a.zarr/zarr.json"])
def test_an_image_that_root_has_imported(house: House, data: Path, hidden: str) -> None:
    os.chown(data / hidden, 0, 0)
    (data / hidden).chmod(0o700)
    said = examined(house, data)
    assert {where for _, where, _ in said.bad} >= {"channels-worker", "celery"}
    assert said.of("files", "celery")["message"] == f"www-data can't read {data}/{hidden}"
