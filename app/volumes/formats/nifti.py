"""NIfTI, the format of magnetic resonance images. https://nifti.nimh.nih.gov/nifti-1/

x, y and z are the file's first three dimensions. Its orientation is ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from . import BadFile, Source, check, reading, size_or_one

SUFFIXES: Final = (".nii", ".nii.gz")
_UNITS: Final = {"meter": "m", "mm": "mm", "micron": "µm"}


def read(path: Path) -> Source:
    """Open a NIfTI file and read its header. Raises BadFile."""
    import nibabel
    import numpy

    with reading("its header can't be read"):
        try:
            image: Any = nibabel.load(path)
            header = image.header
            shape = tuple(int(size) for size in image.shape)
            zooms = [float(zoom) for zoom in header.get_zooms()[:3]]
            space, _ = header.get_xyzt_units()
            # Not from the header, in which nibabel resets the scaling.
            scaled = (image.dataobj.slope, image.dataobj.inter) != (1, 0)
        except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
            raise BadFile(f"it is not NIfTI: {error}") from error
    while len(shape) > 3 and shape[-1] == 1:  # such as a time axis with one point
        shape = shape[:-1]
    stored = header.get_data_dtype()
    dtype = "float32" if scaled and stored.fields is None else stored.newbyteorder("=").name
    check(shape, dtype)
    extra = (0,) * (len(image.shape) - 3)

    def slabs(depth: int) -> Iterator[Any]:
        for start in range(0, shape[2], depth):
            with reading("it ends too early or is damaged"):
                slab = image.dataobj[(slice(None), slice(None), slice(start, start + depth), *extra)]
                converted = numpy.ascontiguousarray(numpy.asarray(slab, dtype=dtype).T)
            yield converted

    return Source(
        shape=(shape[2], shape[1], shape[0]),
        dtype=dtype,
        voxel_size=(size_or_one(zooms[0]), size_or_one(zooms[1]), size_or_one(zooms[2])),
        unit=_UNITS.get(space, ""),
        slabs=slabs,
        upright=True,
    )
