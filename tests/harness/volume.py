"""The sample volume, read from its store by the tests' own code instead of through the site."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import tifffile

from .site import Browser
from .target import Target

Box = dict[str, list[int]]

_READ = """
import base64, io, numpy, zarr
from volumes.models import Volume
array = zarr.open_array(str(Volume.objects.get(pk={volume}).path), mode="r")[{z}, {y}, {x}]
out = io.BytesIO()
numpy.save(out, numpy.asarray(array))
print(base64.b64encode(out.getvalue()).decode())
"""


@dataclass(frozen=True)
class Sample:
    """A volume's id and its size in voxels: x, y, z."""

    id: int
    size: tuple[int, int, int]

    def box(self, x: int, y: int, z: int, edge: int = 16) -> Box:
        """A cube with that corner."""
        return {"x": [x, x + edge], "y": [y, y + edge], "z": [z, z + edge]}

    @property
    def whole(self) -> Box:
        """The box of the whole volume."""
        return {axis: [0, size] for axis, size in zip("xyz", self.size, strict=True)}


def sample(stack: Target) -> Sample:
    """The volume that ships with the stack."""
    query = "SELECT id, size_x, size_y, size_z FROM volumes_volume ORDER BY id LIMIT 1"
    ((number, x, y, z),) = stack.psql(query)
    return Sample(int(number), (int(x), int(y), int(z)))


def voxels(stack: Target, volume: int, box: Box) -> np.ndarray[Any, Any]:
    """Read the box from the store, in the order z, y, x."""
    slices = {axis: f"{begin}:{end}" for axis, (begin, end) in box.items()}
    printed = stack.manage(_READ.format(volume=volume, **slices), "celery").strip().splitlines()[-1]
    array: np.ndarray[Any, Any] = np.load(io.BytesIO(base64.b64decode(printed)))
    return array


def pages(browser: Browser, path: str) -> np.ndarray[Any, Any]:
    """Download a TIFF: one page per z, with rows y and columns x."""
    answer = browser.get(path)
    assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:300]}"
    with tifffile.TiffFile(io.BytesIO(answer.content)) as tiff:
        return np.stack([page.asarray() for page in tiff.pages])
