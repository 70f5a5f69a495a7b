"""Zarr stores of format 2 and 3: a folder with one array, or OME-Zarr, of which the finest level is read.

https://zarr-specs.readthedocs.io/ https://ngff.openmicroscopy.org/0.4/
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from . import BadFile, Source, check, reading, size_or_one

SUFFIXES: Final = (".zarr",)
# Harmless codecs. A store names the codecs that it needs, and some existing ones run code (pickle).
_CODECS: Final = frozenset(
    {"blosc", "bytes", "bz2", "crc32c", "delta", "gzip", "lz4", "lzma"}
    | {"sharding_indexed", "shuffle", "transpose", "zlib", "zstd"}
)
_CHUNK_BYTES: Final = 2**29
_METADATA_BYTES: Final = 2**24
_UNITS: Final = {
    "meter": ("m", 1.0),
    "millimeter": ("mm", 1.0),
    "micrometer": ("µm", 1.0),
    "nanometer": ("µm", 0.001),
}

Metadata = dict[str, Any]


def read(path: Path) -> Source:
    """Open a Zarr store and read its metadata. Raises BadFile."""
    import numpy
    import zarr

    with reading("its metadata can't be read"):
        place, voxel_size, unit = _find_array(path)
        _check_codecs(_metadata(place))
        array = zarr.open_array(place, mode="r")
        lead = len(array.shape) - 3
        shape = tuple(int(size) for size in array.shape[max(lead, 0) :])
        if any(size != 1 for size in array.shape[: max(lead, 0)]):
            shape = tuple(array.shape)
        dtype = numpy.dtype(array.dtype).newbyteorder("=").name
        check(shape, dtype)
        chunk = math.prod(array.chunks) * array.dtype.itemsize
        if chunk > _CHUNK_BYTES:
            raise BadFile(f"its chunks have {chunk >> 20} MiB, at most {_CHUNK_BYTES >> 20} are read")

    def slabs(depth: int) -> Iterator[Any]:
        for start in range(0, shape[0], depth):
            with reading("a part of it is damaged"):
                slab = array[(0,) * lead + (slice(start, start + depth),)]
                converted = numpy.ascontiguousarray(slab, dtype=dtype)
            yield converted

    return Source(
        shape=(shape[0], shape[1], shape[2]), dtype=dtype, voxel_size=voxel_size, unit=unit, slabs=slabs
    )


def _find_array(path: Path) -> tuple[Path, tuple[float, float, float], str]:
    """The array's folder, and the size and unit of its voxels. Raises BadFile."""
    unknown = (1.0, 1.0, 1.0), ""
    metadata = _metadata(path)
    if "shape" in metadata:
        return path, *unknown
    attributes = metadata.get("attributes", {})
    multiscales = attributes.get("ome", attributes).get("multiscales")
    if multiscales:
        level = multiscales[0]["datasets"][0]
        return _below(path, str(level["path"])), *(_ome_size(multiscales[0], level) or unknown)
    arrays = [child for child in sorted(path.iterdir()) if child.is_dir() and "shape" in _metadata(child)]
    if len(arrays) != 1:
        raise BadFile(f"it is a group of {len(arrays)} arrays; one is needed")
    return arrays[0], *unknown


def _metadata(place: Path) -> Metadata:
    """The metadata of an array or a group, of either format, with `attributes`; {} if there is none."""
    for name in ("zarr.json", ".zarray", ".zgroup"):
        file = place / name
        if file.is_file():
            metadata = _json(file)
            if name != "zarr.json" and (place / ".zattrs").is_file():
                metadata["attributes"] = _json(place / ".zattrs")
            return metadata
    return {}


def _json(file: Path) -> Metadata:
    if file.stat().st_size > _METADATA_BYTES:
        raise BadFile(f"{file.name} is too large for metadata")
    value = json.loads(file.read_bytes())
    if not isinstance(value, dict):
        raise BadFile(f"{file.name} is not a JSON object")
    return value


def _below(path: Path, name: str) -> Path:
    place = (path / name).resolve()
    if not place.is_relative_to(path.resolve()):
        raise BadFile("its metadata points outside of its folder")
    return place


def _check_codecs(metadata: Metadata) -> None:
    """Raises BadFile for a codec that isn't in _CODECS, at any level of nesting."""
    if "shape" not in metadata:
        raise BadFile("it contains no array")
    named = [metadata.get("compressor"), *(metadata.get("filters") or []), *metadata.get("codecs", [])]
    while named:
        codec = named.pop()
        if codec is None:
            continue
        name = str(codec.get("name", codec.get("id")))
        if name.removeprefix("numcodecs.") not in _CODECS:
            raise BadFile(f"it uses the codec {ascii(name)[1:-1][:40]}, which is not supported")
        inner = codec.get("configuration") or {}
        named += [*inner.get("codecs", []), *inner.get("index_codecs", [])]


def _ome_size(multiscale: Metadata, level: Metadata) -> tuple[tuple[float, float, float], str] | None:
    units = {_UNITS.get(str(axis.get("unit"))) for axis in multiscale.get("axes", ())[-3:]}
    scales = [
        step["scale"][-3:]
        for step in level.get("coordinateTransformations", ())
        if step.get("type") == "scale"
    ]
    if len(units) != 1 or None in units or len(scales) != 1 or len(scales[0]) != 3:
        return None
    ((unit, factor),) = [known for known in units if known]
    z, y, x = (size_or_one(float(scale) * factor) for scale in scales[0])
    return (x, y, z), unit
