"""Pictures of slices: one plane of a volume as a PNG, in 8-bit grey."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from typing import Any, Final

from .box import AXES, Box, Range

# Pixels of a preview's longer side. A larger slice is subsampled.
MAX_PIXELS: Final = 512
# Pixels of the longer side of a whole slice. Some browsers can't draw a larger canvas.
MAX_SIDE: Final = 4096
# Voxels of a slice, all of whose chunks must be decompressed.
MAX_VOXELS: Final = 2048 * 2048


@dataclass(frozen=True)
class Picture:
    """A PNG in 8-bit grey of the plane at `index` along z: rows are y, columns are x."""

    png: bytes
    width: int  # pixels
    height: int
    index: int  # voxels


class TooLarge(ValueError):
    """The slice has more than MAX_VOXELS voxels."""


def middle_slice(array: Any, box: Box) -> Picture:
    """The middle plane of the box along z. `array` has the axes z, y, x. Raises TooLarge."""
    voxels = box.x.length * box.y.length
    if voxels > MAX_VOXELS:
        raise TooLarge(f"a slice of the box has {voxels} voxels, at most {MAX_VOXELS} are shown")
    index = box.z.start + box.z.length // 2
    plane = array[index, _thinned(box.y, MAX_PIXELS), _thinned(box.x, MAX_PIXELS)]
    height, width = plane.shape
    return Picture(_png(_grey(plane)), width, height, index)


def whole_slice(array: Any, axis: str, index: int, window: tuple[float, float] | None) -> bytes:
    """The plane at `index` along the axis, as a PNG. Of the other axes, the earlier one gives the columns.

    `window`: the values shown as black and white; None: they are computed from this slice. Raises TooLarge,
    and any error of a broken store.
    """
    whole = Box(*(Range(0, size) for size in reversed(array.shape)))
    across = [range_ for name, range_ in zip(AXES, whole, strict=True) if name != axis]
    voxels = across[0].length * across[1].length
    if voxels > MAX_VOXELS:
        raise TooLarge(f"a slice along {axis} has {voxels} voxels, at most {MAX_VOXELS} are shown")
    place = [
        index if name == axis else _thinned(range_, MAX_SIDE)
        for name, range_ in zip(AXES, whole, strict=True)
    ]
    plane = array[tuple(reversed(place))]
    return _png(_grey(plane) if window is None else _windowed(plane, *window))


def _thinned(along: Range, pixels: int) -> slice:
    return slice(along.start, along.stop, -(-along.length // pixels))


def _png(grey: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    # Z_RLE searches only for runs of one byte. After PNG's filters a picture is mostly noise, in which a
    # search for longer matches finds nothing. It takes two thirds of level 1's time, and the file is no
    # larger.
    Image.fromarray(grey).save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def _grey(plane: Any) -> Any:
    """The plane in 8-bit grey.

    Bytes stay; other types are stretched between their 1st and 99th percentile.
    """
    import numpy

    if plane.dtype == numpy.uint8:
        return numpy.ascontiguousarray(plane)
    values = numpy.nan_to_num(plane.astype(numpy.float64))
    low, high = numpy.percentile(values, (1, 99))
    if high <= low:  # nearly all voxels have the same value
        low, high = values.min(), values.max()
    return _stretched(values, low, high)


def _windowed(plane: Any, low: float, high: float) -> Any:
    """The plane in 8-bit grey. `low` and below are black, `high` and above white, NaN is black."""
    import numpy

    # float32 holds all 16-bit integers exactly, and takes half the time.
    kind = numpy.float32 if plane.dtype.itemsize <= 2 else numpy.float64
    values = numpy.nan_to_num(plane.astype(kind), nan=low, posinf=high, neginf=low)
    return _stretched(values, kind(low), kind(high))


def _stretched(values: Any, low: Any, high: Any) -> Any:
    import numpy

    # Halved, since the difference of two numbers may exceed the largest number.
    span = high / 2 - low / 2 or 1.0
    return (numpy.clip((values / 2 - low / 2) / span, 0, 1) * 255).astype(numpy.uint8)
