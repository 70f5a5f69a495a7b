"""Cancelling a crop: while it waits, while it is being cut, and at the moment of its end."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from inbox.models import Message
from sluice_updates.models import Update
from volumes import cutting, handover, jobs
from volumes.cancelling import NotOpen, cancel_crop
from volumes.models import Crop

pytestmark = pytest.mark.django_db(transaction=True)
HTML = {"Accept": "text/html"}


@pytest.fixture
def crop(ada: Any, volume: Any) -> Crop:
    return Crop.objects.create(owner=ada, volume=volume, x0=0, x1=100, y0=0, y1=70, z0=0, z1=30)


def progress() -> list[tuple[str, int]]:
    found = [
        json.loads(update.payload) for update in Update.objects.filter(event="crop-progress").order_by("id")
    ]
    return [(payload["state"], payload["progress"]) for payload in found]


def test_a_crop_that_waits(as_ada: Client, ada: Any, crop: Crop) -> None:
    answer = as_ada.post(f"/crops/{crop.pk}/cancel/")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    crop.refresh_from_db()
    assert crop.state == "cancelled" and crop.finished
    assert progress() == [("cancelled", 0)]
    assert not jobs.run(crop.pk)
    assert handover._waiting() == []
    assert not crop.path.exists() and not Message.objects.exists()
    assert as_ada.get(f"/crops/{crop.pk}/download/").status_code == 409


def test_cancelling_again_is_allowed_and_publishes_nothing(as_ada: Client, crop: Crop) -> None:
    for _ in range(2):
        assert as_ada.post(f"/crops/{crop.pk}/cancel/").json()["state"] == "cancelled"
    assert progress() == [("cancelled", 0)]


def test_a_crop_that_is_being_cut_is_aborted_and_leaves_no_file(
    crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutting, "SLAB_BYTES", 100 * 70 * 4 * 10)
    monkeypatch.setattr(jobs, "_PROGRESS_SECONDS", 0)
    publish, told = jobs.progress.publish_progress, []

    def cancelled_meanwhile(running: Crop, state: str, percent: int) -> None:
        publish(running, state, percent)
        told.append(percent)
        if percent == 33:
            cancel_crop(Crop.objects.get(pk=crop.pk))

    monkeypatch.setattr(jobs.progress, "publish_progress", cancelled_meanwhile)
    assert not jobs.run(crop.pk)
    crop.refresh_from_db()
    assert (crop.state, told[:2]) == ("cancelled", [0, 33])
    assert list(crop.path.parent.iterdir()) == []
    assert progress()[-1] == ("cancelled", 33) and not Message.objects.exists()


def test_at_the_moment_when_its_file_is_there_it_is_still_cancelled(
    crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = cutting.cut

    def cut_and_cancel(*arguments: Any) -> int:
        size = cut(*arguments)
        assert crop.path.exists()
        cancel_crop(Crop.objects.get(pk=crop.pk))
        return size

    monkeypatch.setattr(cutting, "cut", cut_and_cancel)
    assert not jobs.run(crop.pk)
    assert not crop.path.exists() and not Message.objects.exists()
    assert [state for state, _ in progress()] == ["running", "cancelled"]


def test_a_worker_whose_crop_was_restarted_keeps_the_other_workers_file(
    crop: Crop, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = cutting.cut

    def superseded(*arguments: Any) -> int:
        size = cut(*arguments)
        Crop.objects.filter(pk=crop.pk).update(attempts=2, state="done")
        return size

    monkeypatch.setattr(cutting, "cut", superseded)
    assert not jobs.run(crop.pk)
    assert crop.path.exists()


@pytest.mark.parametrize("state", ["done", "failed"])
def test_a_crop_that_has_ended_is_not_changed(as_ada: Client, crop: Crop, state: str) -> None:
    Crop.objects.update(state=state)
    answer = as_ada.post(f"/crops/{crop.pk}/cancel/")
    assert (answer.status_code, answer.json()["error"]["field"]) == (409, "state")
    assert Crop.objects.get().state == state and progress() == []
    with pytest.raises(NotOpen):
        cancel_crop(crop)


def test_by_a_button_it_leads_back_to_the_page(as_ada: Client, crop: Crop) -> None:
    answer = as_ada.post(f"/crops/{crop.pk}/cancel/", headers=HTML)
    assert (answer.status_code, answer["Location"]) == (302, "/crops/")
    Crop.objects.update(state="done")
    as_ada.post(f"/crops/{crop.pk}/cancel/", headers=HTML)
    assert "The crop is done; only a queued" in as_ada.get("/crops/", headers=HTML).content.decode()


def test_only_the_owner_may_cancel(as_ada: Client, as_bob: Client, crop: Crop) -> None:
    path = f"/crops/{crop.pk}/cancel/"
    assert as_bob.post(path).status_code == 403
    assert Client().post(path).status_code == 401
    signed_out = Client().post(path, headers=HTML)
    assert signed_out["Location"] == "/accounts/login/?next=/crops/"
    assert as_ada.get(path).status_code == 405
    assert as_ada.post("/crops/999/cancel/").status_code == 404
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(crop.owner)
    assert strict.post(path).status_code == strict.post(path, headers=HTML).status_code == 403
    assert Crop.objects.get().state == "queued"
