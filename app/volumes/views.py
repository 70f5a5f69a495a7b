"""Views of volumes and crops: pages for browsers, JSON for programs."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages as flash
from django.contrib.auth.decorators import login_required
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from common.api import ApiError, api, only_fields, only_methods, read_object
from common.pages import button, shows_errors
from common.paging import Page, read_page
from sluice_stack.errors import wants_json
from sluice_updates.page import follows
from sluice_updates.streams import default_streams

from . import progress, quota
from .box import AXES
from .cancelling import NotOpen, cancel_crop
from .deleting import NotEnded, delete_crop
from .forms import CropForm
from .models import Crop, Volume
from .ordering import BadBox, OverQuota, TooManyCrops, order_crop


@require_safe
@login_required
@follows()
def volumes(request: HttpRequest) -> HttpResponse:
    """The page with all volumes."""
    return render(request, "volumes/volumes.html", {"volumes": Volume.objects.all()})


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@follows()
def volume(request: HttpRequest, volume_id: int) -> HttpResponse:
    """The page of a volume, with the form for ordering a crop."""
    shown = get_object_or_404(Volume, pk=volume_id)
    form = CropForm(shown, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            crop = order_crop(request.user, shown, form.box())
        except BadBox as error:
            form.add_error(None, f"{str(error).removeprefix('box.')}.")
        except (TooManyCrops, OverQuota) as error:
            form.add_error(None, f"{error}.")
        else:
            flash.success(request, f"Crop {crop.pk} is queued. A message will tell you when it is ready.")
            return redirect("crops")
    # 422, so that scripts don't take a page with an error for a success.
    status = 422 if form.errors else 200
    context = {"volume": shown, "form": form, "max_voxels": settings.CROP_MAX_VOXELS, **_viewer(shown)}
    context["most"] = f"{settings.CROP_MAX_VOXELS:,}"  # formatted for people
    return render(request, "volumes/volume.html", context, status=status)


def _viewer(volume: Volume) -> dict[str, Any]:
    """The values for the viewer's script: the URL of the slices, and the views, that along z first."""
    slices = reverse("slice", args=[volume.pk, volume.version, "z", 0]).removesuffix("z/0.png")
    views = [
        {"axis": axis, "middle": volume.middle[axis], "last": range_.stop - 1}
        for axis, range_ in reversed([*zip(AXES, volume.whole, strict=True)])
    ]
    span = (volume.greatest or 0) - (volume.least or 0)
    return {
        "slices": slices,
        "views": views,
        "itemsize": volume.itemsize,
        # The step of the contrast's sliders: 1 for integers, else a thousandth of the range.
        "step": 1 if "int" in volume.dtype else span / 1000 or 1,
    }


@api
def order(request: HttpRequest, volume_id: int) -> HttpResponse:
    """POST: order a crop of the volume."""
    only_methods(request, "POST")
    wanted = Volume.objects.filter(pk=volume_id).first()
    if wanted is None:
        raise ApiError(404, "there is no such volume", "volume")
    body = read_object(request)
    only_fields(body, ("box",))
    try:
        crop = order_crop(request.user, wanted, body["box"])
    except BadBox as error:
        raise ApiError(400, str(error), error.field, error.limit) from None
    except TooManyCrops as error:
        raise ApiError(429, str(error), "volume", error.limit) from None
    except OverQuota as error:
        raise ApiError(409, str(error), "box", error.limit) from None
    url = reverse("crop", args=[crop.pk])
    return JsonResponse({"crop_id": crop.pk, "url": url}, status=202, headers={"Location": url})


def crops(request: HttpRequest) -> HttpResponse:
    """A page of the user's crops, newest first."""
    return crops_api(request) if wants_json(request) else crops_page(request)


def _streams(request: HttpRequest) -> list[str]:
    """The default streams, and the progress of the user's crops."""
    return [*default_streams(request.user.pk), progress.crops_stream(request.user.pk)]


@require_safe
@login_required
@follows(_streams)
@shows_errors
def crops_page(request: HttpRequest) -> HttpResponse:
    return render(
        request,
        "volumes/crops.html",
        {
            "page": _page(request),
            "retention_days": settings.CROP_RETENTION_DAYS,
            "used": quota.used_bytes(request.user),
            "quota": settings.CROP_QUOTA_BYTES,
            "room_seconds": quota.ROOM_SECONDS,
        },
    )


@api
def crops_api(request: HttpRequest) -> HttpResponse:
    only_methods(request, "GET")
    page = _page(request)
    return JsonResponse({"crops": [as_json(crop) for crop in page.rows], "older": page.older})


@api
def crop(request: HttpRequest, crop_id: int) -> HttpResponse:
    """GET: the user's crop, with its progress."""
    only_methods(request, "GET")
    return JsonResponse(as_json(_own(request.user, crop_id)))


@button("crops")
def cancel(request: HttpRequest, crop_id: int) -> dict[str, Any]:
    """POST: cancel the user's crop. It may be repeated."""
    wanted = _own(request.user, crop_id)
    try:
        cancel_crop(wanted)
    except NotOpen as error:
        raise ApiError(409, str(error), "state") from None
    return as_json(wanted)


@button("crops")
def delete(request: HttpRequest, crop_id: int) -> dict[str, Any]:
    """POST: delete the user's crop with its file. The crop must have ended."""
    try:
        delete_crop(_own(request.user, crop_id))
    except NotEnded as error:
        raise ApiError(409, str(error), "state") from None
    return {"crop_id": crop_id}


@api
def download(request: HttpRequest, crop_id: int) -> HttpResponseBase:
    """GET: the TIFF of the user's crop."""
    only_methods(request, "GET")
    wanted = _own(request.user, crop_id)
    if wanted.state != Crop.State.DONE:
        raise ApiError(409, f"the crop is {wanted.state}; its file exists once it is done", "state")
    name = f"crop-{wanted.pk}.tiff"
    if settings.SENDFILE == "nginx":
        response = HttpResponse(content_type="image/tiff")
        response["X-Accel-Redirect"] = f"/protected-media/{wanted.file_name}"
        response["Content-Disposition"] = f'attachment; filename="{name}"'
        return response
    try:
        return FileResponse(
            wanted.path.open("rb"), as_attachment=True, filename=name, content_type="image/tiff"
        )
    except FileNotFoundError:
        raise ApiError(404, "the crop's file no longer exists; order the crop again", "crop") from None


def as_json(crop: Crop) -> dict[str, Any]:
    """A crop in the API's format."""
    done = crop.state == Crop.State.DONE
    return {
        "crop_id": crop.pk,
        "volume_id": crop.volume_id,
        "box": crop.box.as_json(),
        "state": crop.state,
        "progress": crop.progress,
        "error": crop.error or None,
        "created": crop.created.isoformat(),
        "finished": crop.finished.isoformat() if crop.finished else None,
        "url": reverse("crop", args=[crop.pk]),
        "download_url": reverse("crop_download", args=[crop.pk]) if done else None,
        "size": crop.size if done else None,
    }


def _page(request: HttpRequest) -> Page:
    return read_page(
        request, Crop.objects.filter(owner=request.user, discarded=False).select_related("volume")
    )


def _own(user: Any, crop_id: int) -> Crop:
    """The user's crop with this id. Raises ApiError: 404 if there is none, 403 if it is another user's."""
    found = Crop.objects.filter(pk=crop_id, discarded=False).first()
    if found is None:
        days = settings.CROP_RETENTION_DAYS
        raise ApiError(
            404, f"there is no such crop; crops are deleted after {days} days or by their owner", "crop"
        )
    if found.owner_id != user.pk:
        raise ApiError(403, "this crop belongs to another user", "crop")
    return found
