"""One user's crops and their limit on disk space."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import Client

from volumes import quota, retention
from volumes.deleting import delete_crop
from volumes.models import Crop

pytestmark = pytest.mark.django_db(transaction=True)
HTML = {"Accept": "text/html"}
BYTES = 64 * 45 * 27 * 4  # of the box, with voxels of 32 bits


@pytest.fixture(autouse=True)
def limit(settings: Any) -> None:
    """A limit that is enough for two such boxes."""
    settings.CROP_QUOTA_BYTES = 2 * BYTES


def order(client: Client, volume: Any, box: Any) -> Any:
    return client.post(
        f"/volumes/{volume.pk}/crops/", json.dumps({"box": box}), content_type="application/json"
    )


def test_ordered_crops_count_and_one_above_the_quota_is_refused(
    as_ada: Client, ada: Any, volume: Any, box: Any
) -> None:
    assert [order(as_ada, volume, box).status_code for _ in range(2)] == [202, 202]
    assert quota.used_bytes(ada) == 2 * BYTES
    answer = order(as_ada, volume, box)
    assert answer.status_code == 409
    error = answer.json()["error"]
    assert (error["field"], error["limit"]) == ("box", 2 * BYTES)
    assert "delete some that you no longer need" in error["detail"]
    assert Crop.objects.count() == 2


def test_a_crop_above_the_whole_quota_needs_a_smaller_box(
    as_ada: Client, volume: Any, settings: Any, box: Any
) -> None:
    settings.CROP_QUOTA_BYTES = BYTES - 1
    assert "choose a smaller box" in order(as_ada, volume, box).json()["error"]["detail"]
    assert "delete some" not in order(as_ada, volume, box).json()["error"]["detail"]


@pytest.mark.parametrize(("state", "counts"), [("done", True), ("failed", False), ("cancelled", False)])
def test_finished_crops_count_by_their_file(
    as_ada: Client, ada: Any, volume: Any, box: Any, state: str, counts: bool
) -> None:
    order(as_ada, volume, box)
    Crop.objects.update(state=state, size=BYTES + 1 if state == "done" else 0)
    assert quota.used_bytes(ada) == (BYTES + 1 if counts else 0)


def test_deleting_makes_room_once_the_file_is_gone(as_ada: Client, ada: Any, volume: Any, box: Any) -> None:
    order(as_ada, volume, box)
    Crop.objects.update(state="done", size=2 * BYTES)
    assert order(as_ada, volume, box).status_code == 409
    delete_crop(Crop.objects.get())
    assert quota.used_bytes(ada) == 2 * BYTES
    assert "(this frees space within 10 s)" in order(as_ada, volume, box).json()["error"]["detail"]
    retention.remove_discarded()
    assert quota.used_bytes(ada) == 0
    assert order(as_ada, volume, box).status_code == 202


def test_space_is_free_as_soon_as_the_page_promises() -> None:
    from mysite.celery import app

    entry = app.conf.beat_schedule["remove discarded crops"]
    assert entry["task"] == "volumes.retention.remove_discarded"
    assert entry["schedule"] == quota.ROOM_SECONDS


@pytest.mark.parametrize(("too_much", "expected"), [(0, []), (1, ["volumes.W001"])])
def test_a_crop_limit_above_the_quota_is_reported(settings: Any, too_much: int, expected: list[str]) -> None:
    settings.CROP_QUOTA_BYTES = 3 * 2**20
    settings.CROP_MAX_VOXELS = 3 * 2**17 + too_much
    found = run_checks(tags=["volumes"])
    assert [message.id for message in found] == expected
    assert all("Set CROP_QUOTA_MB to 4 or more" in str(message.hint) for message in found)


def test_others_have_their_own(as_ada: Client, as_bob: Client, volume: Any, box: Any) -> None:
    for _ in range(2):
        order(as_ada, volume, box)
    assert order(as_bob, volume, box).status_code == 202


def test_the_form_shows_the_error_and_the_page_the_used_space(
    as_ada: Client, volume: Any, settings: Any, box: Any
) -> None:
    settings.CROP_QUOTA_BYTES = 1
    typed = {f"{axis}{end}": range_[end] for axis, range_ in box.items() for end in (0, 1)}
    answer = as_ada.post(f"/volumes/{volume.pk}/", typed, headers=HTML)
    assert answer.status_code == 422 and "choose a smaller box" in answer.content.decode()
    settings.CROP_QUOTA_BYTES = 10 * 2**30
    order(as_ada, volume, box)
    page = as_ada.get("/crops/", headers=HTML).content.decode().replace("\xa0", " ")
    assert "Yours take 303.8 KB of 10.0 GB; a deletion frees space within 10 s." in page
