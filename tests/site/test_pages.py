"""The HTML pages."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from django.urls import clear_script_prefix, set_script_prefix

from inbox.sending import send
from sluice_updates import history, publish
from volumes.models import Crop

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PAGES = ["/volumes/", "/crops/", "/messages/"]


def positions(page: str) -> dict[str, str]:
    found: dict[str, str] = page_data(page)["positions"]
    return found


def page_data(page: str) -> dict[str, Any]:
    """What {% sluice_updates %} printed."""
    match = re.search(r'<script id="sluice-updates" type="application/json">(.*?)</script>', page)
    assert match
    found: dict[str, Any] = json.loads(match[1])
    return found


@pytest.mark.parametrize("path", PAGES)
def test_signed_out_is_led_to_the_form_and_back(db: None, path: str) -> None:
    client = Client(headers=HTML)
    assert client.get(path)["Location"] == f"/accounts/login/?next={path}"


def test_signing_in_and_out(ada: Any) -> None:
    client = Client(headers=HTML)
    form = {"username": "ada", "password": "wrong", "next": "/messages/"}
    page = client.post("/accounts/login/?next=/messages/", form)
    assert page.status_code == 200 and "is wrong" in page.content.decode()
    answer = client.post("/accounts/login/", form | {"password": "secret of ada"})
    assert (answer.status_code, answer["Location"]) == (302, "/messages/")
    assert client.get("/messages/").status_code == 200
    assert client.post("/accounts/logout/")["Location"] == "/accounts/login/"
    assert client.get("/messages/").status_code == 302


def test_signing_in_leads_nowhere_else(ada: Any) -> None:
    form = {"username": "ada", "password": "secret of ada", "next": "https://evil.example/"}
    assert Client().post("/accounts/login/", form)["Location"] == "/"


@pytest.mark.parametrize("path", PAGES)
def test_pages_carry_positions_and_are_not_stored(as_ada: Client, ada: Any, path: str) -> None:
    page = as_ada.get(path, headers=HTML)
    assert "no-store" in page["Cache-Control"]
    streams = {f"user:{ada.pk}", "all"} | ({f"crops:{ada.pk}"} if path == "/crops/" else set())
    assert positions(page.content.decode()) == dict.fromkeys(streams, "0-0")


@pytest.mark.django_db(transaction=True)
def test_positions_are_from_before_the_data(
    as_ada: Client, ada: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that arrives while the page is rendered is in the page or after its position, never lost
    between them.
    """
    send(ada, "before")
    heads = history.heads

    def heads_and_then_a_message(streams: Any) -> Any:
        found = heads(streams)
        send(ada, "meanwhile")
        return found

    monkeypatch.setattr(history, "heads", heads_and_then_a_message)
    page = as_ada.get("/messages/", headers=HTML).content.decode()
    assert positions(page)[f"user:{ada.pk}"].startswith("1-")
    assert "meanwhile" in page


@pytest.mark.django_db(transaction=True)
def test_polling_continues_from_a_pages_positions(as_ada: Client, ada: Any) -> None:
    publish(f"user:{ada.pk}", "early", {})
    page = positions(as_ada.get("/crops/", headers=HTML).content.decode())
    publish(f"user:{ada.pk}", "late", {})
    since = ",".join(f"{stream}/{position}" for stream, position in page.items())
    answer = as_ada.get("/updates/", {"since": since}).json()
    assert [update["event"] for update in answer["updates"]] == ["late"]
    assert all(stream["recovered"] for stream in answer["streams"].values())


def test_the_volumes_page_lists_them(as_ada: Client, volume: Any) -> None:
    page = as_ada.get("/volumes/", headers=HTML).content.decode()
    assert f'href="/volumes/{volume.pk}/"' in page and "100 × 70 × 30" in page


def form(**change: Any) -> dict[str, Any]:
    return {"x0": 1, "x1": 5, "y0": 2, "y1": 6, "z0": 3, "z1": 7} | change


def test_a_crop_by_the_form(as_ada: Client, volume: Any) -> None:
    answer = as_ada.post(f"/volumes/{volume.pk}/", form(), headers=HTML)
    assert (answer.status_code, answer["Location"]) == (302, "/crops/")
    assert Crop.objects.get().box.as_json() == {"x": [1, 5], "y": [2, 6], "z": [3, 7]}
    assert "is queued" in as_ada.get("/crops/", headers=HTML).content.decode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x0": "a"}, "Enter a whole number"),
        ({"x0": "1.5"}, "Enter a whole number"),
        ({"x1": 101}, "less than or equal to 100"),
        ({"x1": ""}, "This field is required"),
        ({"x1": 1}, "x is empty"),
        ({"x0": 9}, "x is inverted"),
    ],
)
def test_mistakes_in_the_form_are_shown_and_nothing_is_ordered(
    as_ada: Client, volume: Any, change: dict[str, Any], words: str
) -> None:
    answer = as_ada.post(f"/volumes/{volume.pk}/", form(**change), headers=HTML)
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert not Crop.objects.exists()


def test_every_page_has_a_policy_and_nothing_in_line(as_ada: Client, volume: Any) -> None:
    pages = [(Client(), "/accounts/login/")]
    pages += [(as_ada, path) for path in ["/nowhere/", f"/volumes/{volume.pk}/", *PAGES]]
    for client, path in pages:
        page = client.get(path, headers=HTML)
        policy = page["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        text = page.content.decode()
        data = '<script id="sluice-updates" type="application/json">'  # never executed
        assert not re.search(r"<style|style=|<script(?![^>]* src=)|\son\w+=", text.replace(data, "")), path
        assert "<main" in text and '<html lang="en">' in text


def test_not_found_is_a_page_or_json(as_ada: Client) -> None:
    page = as_ada.get("/nowhere/", headers=HTML)
    assert page.status_code == 404 and "There is no such page" in page.content.decode()
    assert as_ada.get("/nowhere/").json() == {"error": {"detail": "there is no such page"}}


def test_a_form_without_its_token_gets_a_page_with_the_reason(ada: Any) -> None:
    client = Client(enforce_csrf_checks=True, headers=HTML)
    page = client.post("/accounts/login/", {"username": "ada", "password": "x"})
    assert page.status_code == 403 and "The form was not sent" in page.content.decode()


def test_admin_pages_are_there(ada: Any, volume: Any) -> None:
    ada.is_staff = ada.is_superuser = True
    ada.save()
    client = Client(headers=HTML)
    client.force_login(ada)
    for path in (
        "",
        "volumes/volume/",
        f"volumes/volume/{volume.pk}/change/",
        "volumes/crop/",
        "inbox/message/",
    ):
        assert client.get(f"/admin/{path}").status_code == 200


def test_below_a_prefix_links_stay_there(ada: Any) -> None:
    client = Client(headers=HTML)
    set_script_prefix("/catmaid/")  # as Django's handlers do for FORCE_SCRIPT_NAME
    try:
        client.force_login(ada)
        text = client.get("/volumes/").content.decode()
        links = re.findall(r'(?:href|action|src)="(/[^"]*)"', text)
        assert links and all(link.startswith("/catmaid/") for link in links if "static" not in link)
        assert (page_data(text)["root"], page_data(text)["poll"]) == ("/catmaid/", "/catmaid/updates/")
    finally:
        clear_script_prefix()


def test_without_the_database_it_is_503_and_to_be_tried_again(
    db: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def down(*arguments: Any, **options: Any) -> Any:
        raise OperationalError("connection refused")

    monkeypatch.setattr("mysite.urls.LoginView.dispatch", down)
    page = Client(headers=HTML).get("/accounts/login/")
    assert (page.status_code, page["Retry-After"]) == (503, "5")
    assert "try again" in page.content.decode()
    answer = Client().get("/accounts/login/")
    assert answer.status_code == 503 and "try again" in answer.json()["error"]["detail"]
    assert "connection refused" in caplog.text and "Traceback" not in caplog.text


def test_the_backend_is_named_only_with_expose_backend(db: None, settings: Any) -> None:
    assert "X-Backend" not in Client().get("/accounts/login/")
    settings.SLUICE_STACK_EXPOSE_BACKEND = True
    assert Client().get("/accounts/login/")["X-Backend"] == "wsgi"
    assert Client().get("/healthz")["X-Backend"] == "wsgi"


def test_a_host_that_is_not_ours_is_refused(db: None) -> None:
    assert Client().get("/accounts/login/", headers={"Host": "evil.example"}).status_code == 400
