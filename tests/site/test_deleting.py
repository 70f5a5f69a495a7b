"""Deleting one's own crops: they disappear from all pages at once, and from the disk soon."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from sluice_updates.models import Update
from volumes import retention
from volumes.deleting import delete_crop
from volumes.models import Crop

pytestmark = pytest.mark.django_db(transaction=True)
HTML = {"Accept": "text/html"}


@pytest.fixture
def crop(ada: Any, volume: Any) -> Crop:
    crop = Crop.objects.create(
        owner=ada, volume=volume, x0=0, x1=1, y0=0, y1=1, z0=0, z1=1, state="done", size=4
    )
    crop.path.parent.mkdir(parents=True, exist_ok=True)
    crop.path.write_bytes(b"TIFF")
    return crop


def told() -> list[tuple[str, str, Any]]:
    return [
        (update.stream, update.event, json.loads(update.payload)) for update in Update.objects.order_by("id")
    ]


def test_it_is_gone_at_once_and_its_file_in_a_moment(as_ada: Client, ada: Any, crop: Crop) -> None:
    answer = as_ada.post(f"/crops/{crop.pk}/delete/")
    assert (answer.status_code, answer.json()) == (200, {"crop_id": crop.pk})
    assert told() == [(f"crops:{ada.pk}", "crop-deleted", {"crop_id": crop.pk})]
    assert as_ada.get("/crops/").json()["crops"] == []
    for path in ("", "download/"):
        assert as_ada.get(f"/crops/{crop.pk}/{path}").status_code == 404
    assert retention.remove_discarded() == 1
    assert not crop.path.exists() and not Crop.objects.exists()
    assert retention.remove_discarded() == 0


def test_without_its_file_too(as_ada: Client, crop: Crop) -> None:
    crop.path.unlink()
    assert as_ada.post(f"/crops/{crop.pk}/delete/").status_code == 200
    assert retention.remove_discarded() == 1


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_whatever_has_ended(as_ada: Client, crop: Crop, state: str) -> None:
    Crop.objects.update(state=state)
    assert as_ada.post(f"/crops/{crop.pk}/delete/").status_code == 200


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_running_crop_must_be_cancelled_first(as_ada: Client, crop: Crop, state: str) -> None:
    Crop.objects.update(state=state)
    answer = as_ada.post(f"/crops/{crop.pk}/delete/")
    error = {"field": "state", "detail": f"the crop is {state}; cancel it first"}
    assert (answer.status_code, answer.json()["error"]) == (409, error)
    assert told() == [] and retention.remove_discarded() == 0 and crop.path.exists()


def test_deleting_again_publishes_nothing(as_ada: Client, crop: Crop) -> None:
    for _ in range(2):  # two deletions at the same time
        delete_crop(crop)
    assert len(told()) == 1
    assert as_ada.post(f"/crops/{crop.pk}/delete/").status_code == 404


def test_only_ones_own(as_bob: Client, crop: Crop) -> None:
    assert as_bob.post(f"/crops/{crop.pk}/delete/").status_code == 403
    assert Client().post(f"/crops/{crop.pk}/delete/").status_code == 401
    assert told() == [] and not Crop.objects.filter(discarded=True).exists()


def test_the_page_has_the_button_for_finished_crops(as_ada: Client, crop: Crop) -> None:
    def has_button() -> bool:
        return f"/crops/{crop.pk}/delete/" in as_ada.get("/crops/", headers=HTML).content.decode()

    Crop.objects.update(state="running")
    assert not has_button()
    Crop.objects.update(state="done")
    assert has_button()
