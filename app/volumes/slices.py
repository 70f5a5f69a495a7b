"""Pictures of slices: one plane, as a PNG in 8-bit grey."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from typing import Any, Final

from .box import AXES, Box, Range

# Of a preview's longer side; a larger slice is thinned out.
MAX_PIXELS: Final = 512
# Of the longer side of a whole slice: more than a canvas of any browser would be a risk.
MAX_SIDE: Final = 4096
# Of the slice that a picture is made of: so many chunks of a store have to be decompressed for it.
MAX_VOXELS: Final = 2048 * 2048


@dataclass(frozen=True)
class Picture:
    """A PNG, 8-bit grey, and what it shows: the plane at `index` along z, rows y, columns x."""

    png: bytes
    width: int  # pixels
    height: int
    index: int  # voxels


class TooLarge(ValueError):
    """A slice that has more voxels than a picture is made of."""


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
    """The plane at `index` along the axis, as a PNG: the rows are the later axis of x, y, z, the columns the
    earlier one.

    `window` has the values shown as black and white; without one it is chosen for this slice. Raises
    TooLarge, and whatever a broken store raises.
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
    # Runs of the same byte and Huffman's codes, no more: what the filters leave of a picture is noise, in
    # which a search for longer matches finds none. Two thirds of level 1's time, and no more bytes.
    Image.fromarray(grey).save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def _grey(plane: Any) -> Any:
    """As 8-bit grey: bytes as they are, all else stretched between the slice's 1st and 99th percentile."""
    import numpy

    if plane.dtype == numpy.uint8:
        return numpy.ascontiguousarray(plane)
    values = numpy.nan_to_num(plane.astype(numpy.float64))
    low, high = numpy.percentile(values, (1, 99))
    if high <= low:  # all but a few are the same: nothing to stretch
        low, high = values.min(), values.max()
    return _stretched(values, low, high)


def _windowed(plane: Any, low: float, high: float) -> Any:
    """As 8-bit grey: `low` and below are black, `high` and above white. What is no number is black."""
    import numpy

    # 24 bits of a number are enough for 256 shades, at half the time, wherever all integers have no more.
    kind = numpy.float32 if plane.dtype.itemsize <= 2 else numpy.float64
    values = numpy.nan_to_num(plane.astype(kind), nan=low, posinf=high, neginf=low)
    return _stretched(values, kind(low), kind(high))


def _stretched(values: Any, low: Any, high: Any) -> Any:
    import numpy

    # Halved, since the span of two numbers may be above the largest there is.
    span = high / 2 - low / 2 or 1.0
    return (numpy.clip((values / 2 - low / 2) / span, 0, 1) * 255).astype(numpy.uint8)
