"""Contrast: which of a volume's values are shown as black and as white, by default.

Learnt while the volume is imported, so that neighbouring slices are shown alike: a window of a slice's own
would make them flicker.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

# Of the voxels that the window is chosen from; evenly spread.
_SAMPLE: Final = 1_000_000
# Half a percent of them are shown as black, as many as white.
_PERCENTILES: Final = (0.5, 99.5)


class Contrast(NamedTuple):
    """Values of voxels: the least and the greatest that there are, and those that are black and white."""

    least: float
    greatest: float
    low: float
    high: float


class Survey:
    """Looks at a volume's voxels slab by slab. Memory: that of the sample."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self._step = max(1, math.prod(shape) // _SAMPLE)
        self._samples: list[Any] = []
        self._least = math.inf
        self._greatest = -math.inf

    def add(self, slab: Any) -> None:
        """The next slab. What is no number, or infinite, counts for nothing."""
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
        """What all slabs so far have. A volume without a number, or with one only, is given a window too."""
        import numpy

        if not self._samples:
            return Contrast(0.0, 1.0, 0.0, 1.0)
        low, high = (
            float(value) for value in numpy.percentile(numpy.concatenate(self._samples), _PERCENTILES)
        )
        if high <= low:  # all but a few are the same
            low, high = self._least, self._greatest
        if high <= low:
            high = low + 1.0 if low + 1.0 > low else math.nextafter(low, math.inf)
        return Contrast(self._least, self._greatest, low, high)
