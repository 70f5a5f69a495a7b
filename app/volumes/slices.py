"""Pictures of slices: one plane of a box, as a PNG that is no larger than a screen needs."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final

from .box import Box, Range

# Of the picture's longer side; a larger slice is thinned out.
MAX_PIXELS: Final = 512
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
    plane = array[index, _thinned(box.y), _thinned(box.x)]
    height, width = plane.shape
    return Picture(_png(plane), width, height, index)


def _thinned(along: Range) -> slice:
    return slice(along.start, along.stop, -(-along.length // MAX_PIXELS))


def _png(plane: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    # Level 1: twice the bytes of level 9 at a tenth of the time, and the picture travels once.
    Image.fromarray(_grey(plane)).save(buffer, "PNG", compress_level=1)
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
    # Halved, since the span of two numbers may be above the largest there is.
    span = high / 2 - low / 2 or 1.0
    return (numpy.clip((values / 2 - low / 2) / span, 0, 1) * 255).astype(numpy.uint8)
