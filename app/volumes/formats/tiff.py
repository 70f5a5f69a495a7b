"""TIFF stacks: one page for each z, rows are y, columns are x.

BigTIFF, and the files of ImageJ, OME and this site, are such stacks too. Voxels must be uncompressed or
compressed with Deflate. Other codecs would need another library.
https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from . import BadFile, Source, check, reading, size_or_one

SUFFIXES: Final = (".tif", ".tiff")
_UNCOMPRESSED: Final = 1
_DEFLATE: Final = (8, 32946)
# A file's name for a unit: our name, and the factor from the file's unit to ours.
_UNITS: Final = {
    "m": ("m", 1.0),
    "cm": ("mm", 10.0),
    "centimeter": ("mm", 10.0),
    "mm": ("mm", 1.0),
    "µm": ("µm", 1.0),
    "μm": ("µm", 1.0),  # the Greek letter
    "\\u00b5m": ("µm", 1.0),  # as ImageJ writes it
    "um": ("µm", 1.0),
    "micron": ("µm", 1.0),
    "nm": ("µm", 0.001),
}

Size = tuple[tuple[float, float, float], str]  # a voxel's size along x, y, z, and the unit
_UNKNOWN: Final[Size] = ((1.0, 1.0, 1.0), "")


def read(path: Path) -> Source:
    """Open a TIFF file and read the directories of all its pages. Raises BadFile."""
    import tifffile

    length = path.stat().st_size
    with reading("its pages can't be read"):
        try:
            # _multifile: an OME-TIFF may name other files, which must not be opened.
            tiff = tifffile.TiffFile(path, _multifile=False)
        except tifffile.TiffFileError as error:
            raise BadFile(f"it is not TIFF: {error}") from error
        with tiff:
            _check_chain(tiff, length)
            shape, dtype = _shape(tiff)
            check(shape, dtype)
            places = _places(tiff, shape[0], length)
            size = _voxel_size(tiff)

    def slabs(depth: int) -> Iterator[Any]:
        for start in range(0, shape[0], depth):
            with reading("it ends too early or is damaged"):
                slab = _slab(path, shape, dtype, places, start, min(start + depth, shape[0]))
            yield slab

    return Source(shape=shape, dtype=dtype, voxel_size=size[0], unit=size[1], slabs=slabs)


def _check_chain(tiff: Any, length: int) -> None:
    """Raises BadFile if the chain of directories is broken: tifffile would read only its beginning."""
    kind = tiff.tiff  # the formats of numbers: those of TIFF or BigTIFF, in the file's byte order
    file = tiff.filehandle
    seen = set()
    file.seek(kind.offsetsize if kind.is_bigtiff else 4)
    while offset := struct.unpack(kind.offsetformat, file.read(kind.offsetsize))[0]:
        if offset in seen:
            raise BadFile("its pages form a loop")
        seen.add(offset)
        file.seek(offset)
        entries = struct.unpack(kind.tagnoformat, file.read(kind.tagnosize).ljust(kind.tagnosize, b"\0"))[0]
        end = offset + kind.tagnosize + entries * kind.tagsize
        if end + kind.offsetsize > length:
            raise BadFile(f"it ends too early: page {len(seen)} is missing")
        file.seek(end)


def _shape(tiff: Any) -> tuple[tuple[int, int, int], str]:
    """The size along z, y and x, and the type of a voxel. Raises BadFile."""
    if len(tiff.series) != 1:
        raise BadFile(f"its pages differ: it holds {len(tiff.series)} images instead of one stack")
    series = tiff.series[0]
    kept = [
        (axis, size) for axis, size in zip(series.axes, series.shape, strict=True) if size > 1 or axis in "YX"
    ]
    if "S" in series.axes or series.keyframe.samplesperpixel != 1:
        raise BadFile("it is in colour; one value for each voxel is needed")
    if [axis for axis, _ in kept[-2:]] != ["Y", "X"]:
        raise BadFile("its pages are not two-dimensional images")
    sizes = [size for _, size in kept]
    if len(sizes) == 2:
        sizes.insert(0, 1)
    check(tuple(sizes), series.dtype.newbyteorder("=").name)
    return (sizes[0], sizes[1], sizes[2]), series.dtype.newbyteorder("=").name


def _places(tiff: Any, pages: int, length: int) -> int | None:
    """The offset of the voxels in the file, if they are contiguous and uncompressed; else None.

    Raises BadFile if some are beyond the file's `length`, or compressed with another codec than Deflate.
    """
    series = tiff.series[0]
    keyframe = series.keyframe
    if keyframe.compression != _UNCOMPRESSED and keyframe.compression not in _DEFLATE:
        name = getattr(keyframe.compression, "name", keyframe.compression)
        raise BadFile(f"it is compressed by {name}; save it uncompressed or with Deflate")
    if series.dataoffset is not None:
        if series.dataoffset + series.nbytes > length:
            raise BadFile(
                f"it ends too early, after {length} bytes instead of {series.dataoffset + series.nbytes}"
            )
        return int(series.dataoffset)
    if len(series.pages) != pages:
        raise BadFile(f"it has {len(series.pages)} pages for {pages} slices")
    for page in series.pages:
        if page is None:
            raise BadFile("one of its pages is missing")
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            if offset + count > length:
                raise BadFile(f"it ends too early, after {length} bytes instead of {offset + count}")
    return None


def _slab(
    path: Path, shape: tuple[int, int, int], dtype: str, begin: int | None, start: int, stop: int
) -> Any:
    import numpy
    import tifffile

    with tifffile.TiffFile(path, _multifile=False) as tiff:
        series = tiff.series[0]
        if begin is not None:
            stored = numpy.memmap(path, series.dtype.newbyteorder(tiff.byteorder), "r", begin, shape)
            return numpy.array(stored[start:stop], dtype=dtype)
        slab = numpy.empty((stop - start, *shape[1:]), dtype=dtype)
        pages: Any = series.pages[start:stop]
        for row, page in enumerate(pages):
            _check_unpacked(tiff.filehandle, page, series.keyframe)
            slab[row] = page.asarray().reshape(shape[1:])
    return slab


def _check_unpacked(file: Any, page: Any, keyframe: Any) -> None:
    """Raises BadFile if a part of the page unpacks to more than its size: tifffile's decoder has no limit."""
    if keyframe.compression not in _DEFLATE:
        return
    room = keyframe.dtype.itemsize
    for size in keyframe.chunks:
        room *= size
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        file.seek(offset)
        if len(zlib.decompressobj().decompress(file.read(count), room + 1)) > room:
            raise BadFile("one of its pages unpacks to more than its size, like a decompression bomb")


def _voxel_size(tiff: Any) -> Size:
    """The voxel's size and unit; _UNKNOWN unless the file has both, along all axes."""
    if tiff.is_ome:
        return _ome_size(tiff.ome_metadata or "")
    page = tiff.pages[0]
    described = (tiff.shaped_metadata or ({},))[0] if tiff.is_shaped else (tiff.imagej_metadata or {})
    if "spacing" not in described or "XResolution" not in page.tags:
        return _UNKNOWN
    known = _UNITS.get(str(described.get("unit", "")).lower())
    if known is None:
        return _UNKNOWN
    unit, factor = known
    # The resolution is in pixels per unit in ImageJ's files, else in pixels per centimetre.
    across = factor
    if not tiff.is_imagej:
        if page.resolutionunit != 3:
            return _UNKNOWN
        across = {"m": 0.01, "mm": 10.0, "µm": 10_000.0}[unit]
    x, y = (
        across * tag.value[1] / (tag.value[0] or 1)
        for tag in (page.tags["XResolution"], page.tags["YResolution"])
    )
    z = abs(float(described["spacing"])) * factor
    return (size_or_one(x), size_or_one(y), size_or_one(z)), unit


def _ome_size(xml: str) -> Size:
    sizes = []
    units = set()
    for axis in "XYZ":
        size = re.search(rf'\bPhysicalSize{axis}="([0-9.eE+-]{{1,40}})"', xml)
        # The schema's default is µm.
        unit = re.search(rf'\bPhysicalSize{axis}Unit="([^"]{{1,20}})"', xml)
        known = _UNITS.get(unit[1].lower() if unit else "µm")
        if size is None or known is None:
            return _UNKNOWN
        sizes.append(size_or_one(float(size[1]) * known[1]))
        units.add(known[0])
    return ((sizes[0], sizes[1], sizes[2]), units.pop()) if len(units) == 1 else _UNKNOWN
