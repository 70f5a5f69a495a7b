"""The figures for slices and previews, and the memory that cutting a crop takes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Final

import pytest

from harness.figures import COMMAND, quantile, row
from harness.preview import Preview, previewing
from harness.site import Browser
from harness.stack import Stack
from harness.volume import Sample, sample
from harness.waiting import wait_until

SLICES: Final = 150  # per axis
PREVIEWS: Final = 300
SLICE_P95: Final = 80.0  # milliseconds, for the sample volume and for 512³
PREVIEW_P50: Final = 60.0
# For Celery's process that cuts 512³ voxels of 16 bits, 256 MiB in all: its modules, a slab of at most 64
# MiB, and the chunks that are being decompressed into it.
CROP_MEMORY: Final = 256 * 2**20

# A volume of 512³ voxels of 16 bits that compress about as badly as a microscope's data.
_MAKE = """
import numpy
from pathlib import Path
from django.conf import settings
from volumes import formats, stores
ramp = numpy.linspace(0, 4000, 512, dtype="float32")
def slabs(depth):
    for start in range(0, 512, depth):
        random = numpy.random.default_rng(start)
        slab = 300 * random.standard_normal((depth, 512, 512), dtype="float32")
        slab += ramp[start : start + depth, None, None]
        slab += ramp
        yield slab.clip(0, 65535, out=slab).astype("uint16")
source = formats.Source((512, 512, 512), "uint16", (1.0, 1.0, 1.0), "mm", slabs)
print("volume", stores.import_source(source, "Bench", Path(settings.VOLUMES_ROOT), lambda percent: None).pk)
"""


@pytest.fixture(scope="module")
def quiet(image_tag: str) -> Iterator[Stack]:
    """A stack with an operator's default settings."""
    with Stack(image_tag, {"EXPOSE_BACKEND": "no"}) as stack:
        yield stack


@pytest.fixture(scope="module")
def large(quiet: Stack) -> Sample:
    """A volume of 512³."""
    shell = ("python", "manage.py", "shell", "--verbosity", "0", "-c", _MAKE)
    done = quiet.compose.run("run", "--rm", "--no-deps", "migrate", *shell, deadline=300)
    made = re.search(r"^volume (\d+)$", done.stdout, re.MULTILINE)
    assert made, done.stdout
    return Sample(int(made[1]), (512, 512, 512))


def test_slices_of_the_sample(quiet: Stack, table: list[str]) -> None:
    taken = slices(quiet, sample(quiet))
    table.append(row("a slice of the sample, through nginx, its axis at random", taken))
    assert quantile(taken, 0.95) <= SLICE_P95


@pytest.mark.timeout(600, func_only=True)
def test_slices_of_512(quiet: Stack, large: Sample, table: list[str]) -> None:
    taken = slices(quiet, large)
    table.append(row("a slice of 512 × 512 voxels of 16 bits", taken))
    assert quantile(taken, 0.95) <= SLICE_P95


def test_previews(quiet: Stack, table: list[str]) -> None:
    """One request after another, as a person draws."""
    volume = sample(quiet)

    async def draw(preview: Preview) -> list[float]:
        taken = []
        for number in range(PREVIEWS + 20):
            began = time.perf_counter()
            frame = await preview.of(volume.box(number % 60, number % 50, number % 100, 64))
            assert frame["event"] == "preview", frame
            taken.append(1000 * (time.perf_counter() - began))
        return taken[20:]

    taken = previewing(quiet, draw)
    table.append(row("a preview of a box of 64³, from the request to the picture", taken))
    assert quantile(taken, 0.5) <= PREVIEW_P50


@pytest.mark.timeout(600, func_only=True)
def test_a_large_crop_takes_little_memory(quiet: Stack, large: Sample, table: list[str]) -> None:
    alice = quiet.browser("alice")
    began = time.monotonic()
    url = alice.order_crop(large.id, large.whole)["url"]
    wait_until(lambda: alice.get(url).json()["state"] not in ("queued", "running"), 300, "the crop")
    seconds = time.monotonic() - began
    crop = alice.get(url).json()
    assert (crop["state"], crop["size"] > 512**3 * 2) == ("done", True), crop
    status = quiet.service("celery").exec("sh", "-c", "cat /proc/[0-9]*/status").output
    most = max(int(peak) * 1024 for peak in re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE))
    table.append(f"| a crop of 512³ voxels of 16 bits, 256 MiB | {seconds:.1f} s | | | 1 | {COMMAND} |")
    table.append(f"| the memory of Celery's process for it | {most >> 20} MiB | | | 1 | {COMMAND} |")
    assert most <= CROP_MEMORY, f"{most >> 20} MiB"


def slices(stack: Stack, volume: Sample) -> list[float]:
    """Milliseconds per slice, for slices along each axis, far apart, that no browser has cached."""
    alice = stack.browser("alice")
    page = alice.get(f"/volumes/{volume.id}/", headers={"Accept": "text/html"}).text
    found = re.search(r'data-slices="([^"]+)"', page)
    assert found
    paths = [
        f"{found[1]}{axis}/{number * 37 % size}.png?low=0&high={4000 + number}"
        for number in range(SLICES + 5)
        for axis, size in zip("xyz", volume.size, strict=True)
    ]
    return [_fetch(alice, path) for path in paths][15:]


def _fetch(browser: Browser, path: str) -> float:
    began = time.perf_counter()
    answer = browser.get(path)
    taken = 1000 * (time.perf_counter() - began)
    assert (answer.status_code, answer.content[:4]) == (200, b"\x89PNG"), answer.text[:300]
    return taken
