"""Ordering and downloading crops over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from volumes.models import Crop


def order(client: Client, volume: Any, body: Any, **options: Any) -> Any:
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post(
        f"/volumes/{volume.pk}/crops/", text, **{"content_type": "application/json", **options}
    )


def test_an_order_is_a_queued_row(as_ada: Client, ada: Any, volume: Any, box: Any) -> None:
    answer = order(as_ada, volume, {"box": box})
    crop = Crop.objects.get()
    assert (answer.status_code, answer.json()) == (202, {"crop_id": crop.pk, "url": f"/crops/{crop.pk}/"})
    assert answer["Location"] == f"/crops/{crop.pk}/"
    assert (crop.owner, crop.volume, crop.state, crop.handed_over_at) == (ada, volume, "queued", None)
    assert crop.box.as_json() == box


def test_its_state_can_be_read(as_ada: Client, volume: Any, box: Any) -> None:
    url = order(as_ada, volume, {"box": box}).json()["url"]
    answer = as_ada.get(url)
    assert answer["Cache-Control"].find("no-store") >= 0
    state = answer.json()
    assert (state["state"], state["progress"], state["box"], state["download_url"]) == (
        "queued",
        0,
        box,
        None,
    )
    assert as_ada.get("/crops/").json() == {"crops": [state], "older": None}


BAD_BODIES: list[tuple[Any, int, str]] = [
    (" ", 400, "body"),
    ("{", 400, "body"),
    ("[]", 400, "body"),
    ('"box"', 400, "body"),
    ("null", 400, "body"),
    (b"\xff\xfe", 400, "body"),
    (b'{"box": "\xff"}', 400, "body"),
    ("[" * 30_000, 400, "body"),
    ('{"box":' * 5_000, 400, "body"),
    ('{"box":' * 20 + "1" + "}" * 20, 400, "body"),
    ('{"box": NaN}', 400, "body"),
    ('{"box": {"x": [0, Infinity]}}', 400, "body"),
    ('{"box": ' + "9" * 5_000 + "}", 400, "body"),
    ('{"box": 1, "box": 2}', 400, "box"),
    ('{"box": {"x": [0, 1], "x": [0, 2]}}', 400, "x"),
    ("{}", 400, "box"),
    ('{"box": 1, "priority": 9}', 400, "priority"),
    ('{"box": {"x": [0, 1], "y": [0, 1]}}', 400, "box.z"),
    ('{"box": {"x": [0, 1e2], "y": [0, 1], "z": [0, 1]}}', 400, "box.x"),
    ('{"box": {"x": [false, 1], "y": [0, 1], "z": [0, 1]}}', 400, "box.x"),
    ('{"box": {"x": [0, 1], "y": [2, 1], "z": [0, 1]}}', 400, "box.y"),
    ('{"box": {"x": [0, 1], "y": [1, 1], "z": [0, 1]}}', 400, "box.y"),
    ('{"box": {"x": [0, 1], "y": [0, 1], "z": [0, 31]}}', 400, "box.z"),
    (" " * 70_000 + "{}", 413, "body"),
]


@pytest.mark.parametrize(("body", "status", "field"), BAD_BODIES, ids=lambda value: ascii(value)[:30])
def test_bad_bodies_name_the_field_and_order_nothing(
    as_ada: Client, volume: Any, body: Any, status: int, field: str
) -> None:
    answer = order(as_ada, volume, body)
    assert answer.status_code == status, answer.content
    error = answer.json()["error"]
    assert error["field"] == field
    assert field.split(".")[-1] in error["detail"]
    assert not Crop.objects.exists()


def test_the_limit_is_in_the_error(as_ada: Client, volume: Any, box: Any, settings: Any) -> None:
    settings.CROP_MAX_VOXELS = 1000
    answer = order(as_ada, volume, {"box": box})
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "field": "box",
        "detail": "box has 77760 voxels, at most 1000 are allowed",
        "limit": 1000,
    }


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_only_json_is_read(as_ada: Client, volume: Any, content_type: str) -> None:
    answer = order(as_ada, volume, '{"box": 1}', content_type=content_type)
    assert (answer.status_code, answer.json()["error"]["field"]) == (415, "Content-Type")


def test_a_charset_changes_nothing(as_ada: Client, volume: Any, box: Any) -> None:
    assert (
        order(as_ada, volume, {"box": box}, content_type="application/json; charset=utf-8").status_code == 202
    )


@pytest.mark.parametrize("path", ["/volumes/999/crops/", f"/volumes/{2**70}/crops/"])
def test_an_unknown_volume(as_ada: Client, path: str) -> None:
    answer = as_ada.post(path, "{}", content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["field"]) == (404, "volume")


def test_a_number_of_thousands_of_digits_is_no_volume(as_ada: Client) -> None:
    assert (
        as_ada.post(f"/volumes/{'9' * 6000}/crops/", "{}", content_type="application/json").status_code == 404
    )


def test_one_person_may_have_so_many_open(as_ada: Client, volume: Any, box: Any, settings: Any) -> None:
    settings.CROP_MAX_OPEN_PER_USER = 2
    assert [order(as_ada, volume, {"box": box}).status_code for _ in range(3)] == [202, 202, 429]
    Crop.objects.update(state="done")
    assert order(as_ada, volume, {"box": box}).status_code == 202


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_other_methods(as_ada: Client, volume: Any, method: str) -> None:
    answer = getattr(as_ada, method)(f"/volumes/{volume.pk}/crops/")
    assert (answer.status_code, answer.json()["error"]["detail"], answer["Allow"]) == (
        405,
        "this method is not allowed; use POST",
        "POST",
    )


def test_signed_out_is_401_whatever_is_sent(volume: Any, box: Any) -> None:
    stranger = Client(enforce_csrf_checks=True)
    answers = [
        order(stranger, volume, {"box": box}),
        order(stranger, volume, "{"),
        stranger.post("/volumes/999/crops/"),
        stranger.get("/crops/"),
        stranger.get("/crops/1/"),
        stranger.get("/crops/1/download/"),
    ]
    for answer in answers:
        assert answer.status_code == 401
        assert answer.json()["error"]["detail"].startswith("the session's cookie is missing")
    assert not Crop.objects.exists()


def test_signed_in_but_without_the_token_is_403(ada: Any, volume: Any, box: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)
    answer = order(client, volume, {"box": box})
    assert (answer.status_code, answer.json()["error"]["field"]) == (403, "X-CSRFToken")
    assert not Crop.objects.exists()


def test_with_the_cookies_token_it_is_taken(ada: Any, volume: Any, box: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.get("/accounts/login/")
    client.force_login(ada)
    token = client.cookies["csrftoken"].value
    assert order(client, volume, {"box": box}, headers={"X-CSRFToken": token}).status_code == 202


def test_a_foreign_origin_is_403(ada: Any, volume: Any, box: Any) -> None:
    client = Client(enforce_csrf_checks=True)
    client.get("/accounts/login/")
    client.force_login(ada)
    headers = {"X-CSRFToken": client.cookies["csrftoken"].value, "Origin": "https://evil.example"}
    assert order(client, volume, {"box": box}, headers=headers).status_code == 403
    assert not Crop.objects.exists()


@pytest.fixture
def done(ada: Any, volume: Any) -> Crop:
    crop = Crop.objects.create(
        owner=ada, volume=volume, x0=0, x1=1, y0=0, y1=1, z0=0, z1=1, state="done", size=4
    )
    crop.path.parent.mkdir(parents=True)
    crop.path.write_bytes(b"TIFF")
    return crop


def test_a_download(as_ada: Client, done: Crop) -> None:
    url = as_ada.get(f"/crops/{done.pk}/").json()["download_url"]
    answer = as_ada.get(url)
    assert b"".join(answer.streaming_content) == b"TIFF"
    assert answer["Content-Type"] == "image/tiff"
    assert answer["Content-Disposition"] == f'attachment; filename="crop-{done.pk}.tiff"'


def test_a_download_by_nginx(as_ada: Client, done: Crop, settings: Any) -> None:
    settings.SENDFILE = "nginx"
    answer = as_ada.get(f"/crops/{done.pk}/download/")
    assert answer["X-Accel-Redirect"] == f"/protected-media/crops/{done.pk}.tiff"
    assert answer["Content-Type"] == "image/tiff"
    assert answer.content == b""


def test_another_users_crop_is_403(as_bob: Client, done: Crop) -> None:
    for path in (f"/crops/{done.pk}/", f"/crops/{done.pk}/download/"):
        assert as_bob.get(path).status_code == 403
    assert as_bob.get("/crops/").json() == {"crops": [], "older": None}


def test_a_crop_that_never_was_is_404(as_ada: Client) -> None:
    assert as_ada.get("/crops/7/").status_code == 404
    assert as_ada.get("/crops/7/download/").status_code == 404


def test_an_unfinished_crop_has_no_file(as_ada: Client, done: Crop) -> None:
    Crop.objects.update(state="failed")
    answer = as_ada.get(f"/crops/{done.pk}/download/")
    assert (answer.status_code, answer.json()["error"]["field"]) == (409, "state")


def test_a_missing_file_is_reported(as_ada: Client, done: Crop) -> None:
    done.path.unlink()
    assert as_ada.get(f"/crops/{done.pk}/download/").status_code == 404
