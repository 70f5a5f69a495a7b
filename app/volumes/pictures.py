"""Slices of volumes over HTTP, as PNG.

A slice never changes: its URL contains the import (Volume.version), so browsers may cache it for ever. The
ETag is computed from the request, so a revalidation reads no voxels.
"""

from __future__ import annotations

import hashlib
import logging
import math
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response

from common.api import ApiError, api, bad_field, only_methods

from . import slices, stores
from .box import AXES
from .models import Volume

logger = logging.getLogger(__name__)

# Increment it when the same request gives another picture.
_EDITION: Final = 1
_A_YEAR: Final = 365 * 24 * 3600


@api
def slice_(request: HttpRequest, volume_id: int, version: str, axis: str, index: int) -> HttpResponse:
    """GET: the slice at `index` along the axis.

    Query: `low` and `high`, the values shown as black and white.
    """
    only_methods(request, "GET")
    volume = Volume.objects.filter(pk=volume_id).first()
    if volume is None:
        raise ApiError(404, "there is no such volume", "volume")
    if version != volume.version:
        raise ApiError(404, f"this volume's slices are below {volume.version}/", "version")
    if axis not in AXES:
        raise ApiError(404, "the axes are x, y and z", "axis")
    size = getattr(volume, f"size_{axis}")
    if index >= size:
        raise ApiError(404, f"the slices along {axis} are 0 to {size - 1}", "index", size - 1)
    window = _window(request) or volume.window
    etag = _etag(version, axis, index, window)
    response = get_conditional_response(request, etag=etag) or HttpResponse(
        _png(volume, axis, index, window), content_type="image/png"
    )
    response["ETag"] = etag
    # private: a shared cache could show it to others, and rights may change.
    response["Cache-Control"] = f"private, max-age={_A_YEAR}, immutable"
    return response


def _window(request: HttpRequest) -> tuple[float, float] | None:
    """The window in the query, or None. Raises ApiError."""
    if not ("low" in request.GET or "high" in request.GET):
        return None
    values = []
    for name in ("low", "high"):
        try:
            values.append(float(request.GET[name]))
        except KeyError:
            raise bad_field(name, "is missing; give both low and high, or neither") from None
        except ValueError:
            raise bad_field(name, "must be a number") from None
        if not math.isfinite(values[-1]):
            raise bad_field(name, "must be a number")
    low, high = values
    if low >= high:
        raise bad_field("high", "must be greater than low")
    return low, high


def _etag(*parts: object) -> str:
    text = "/".join(map(repr, (_EDITION, *parts)))
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:24]}"'


def _png(volume: Volume, axis: str, index: int, window: tuple[float, float] | None) -> bytes:
    try:
        return slices.whole_slice(stores.open_array(volume), axis, index, window)
    except slices.TooLarge as error:
        raise ApiError(422, str(error), "axis", slices.MAX_VOXELS) from None
    except Exception:  # a store may be broken in any way
        logger.exception("slice %s = %d of volume %d", axis, index, volume.pk)
        raise ApiError(500, "the volume's data can't be read; see the server's log", "volume") from None
