"""The default contrast of a volume: the window of values between black and white.

It is computed once, while the volume is imported. With a window for each slice, neighbouring slices would
flicker.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

# The number of voxels, evenly spread, from which the window is computed.
_SAMPLE: Final = 1_000_000
# Half a percent of them is shown as black, and half a percent as white.
_PERCENTILES: Final = (0.5, 99.5)


class Contrast(NamedTuple):
    """Values of voxels: the least and the greatest in the volume, and those shown as black and as white."""

    least: float
    greatest: float
    low: float
    high: float


class Survey:
    """Computes the contrast from a volume's slabs. It keeps only a sample in memory."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._step = max(1, math.prod(shape) // _SAMPLE)
        self._samples: list[Any] = []
        self._least = math.inf
        self._greatest = -math.inf

    def add(self, slab: Any) -> None:
        """Add the next slab. NaN and infinite values are ignored."""
        import numpy

        values = slab.reshape(-1)
        if values.dtype.kind == "f":
            values = values[numpy.isfinite(values)]
        if not values.size:
            return
        self._least = min(self._least, float(values.min()))
        self._greatest = max(self._greatest, float(values.max()))
        self._samples.append(values[:: self._step].astype(numpy.float64))

    def result(self) -> Contrast:
        """The contrast of all slabs so far. The window is never empty, even if all voxels have one value."""
        import numpy

        if not self._samples:
            return Contrast(0.0, 1.0, 0.0, 1.0)
        low, high = (
            float(value) for value in numpy.percentile(numpy.concatenate(self._samples), _PERCENTILES)
        )
        if high <= low:  # nearly all voxels have the same value
            low, high = self._least, self._greatest
        if high <= low:
            high = low + 1.0 if low + 1.0 > low else math.nextafter(low, math.inf)
        return Contrast(self._least, self._greatest, low, high)
