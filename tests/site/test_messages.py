"""The inbox, and sending messages to each other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import set_script_prefix

from inbox.models import Message
from inbox.sending import send
from sluice_updates.models import Update

GOOD = {"to": "bob", "title": "Hello", "text": "Line 1\nLine 2"}


def post(client: Client, body: Any) -> Any:
    return client.post("/messages/", json.dumps(body), content_type="application/json")


def pushed() -> list[tuple[str, str, Any]]:
    return [
        (update.stream, update.event, json.loads(update.payload)) for update in Update.objects.order_by("id")
    ]


@pytest.mark.django_db(transaction=True)
def test_a_message_is_in_the_inbox_and_pushed_to_its_recipient_alone(
    as_ada: Client, as_bob: Client, bob: Any
) -> None:
    answer = post(as_ada, GOOD)
    message = Message.objects.get()
    assert (answer.status_code, answer.json()) == (201, {"message_id": message.pk})
    assert pushed() == [
        (f"user:{bob.pk}", "new-message", {"message_id": message.pk, "message_title": "Hello"})
    ]
    assert as_ada.get("/messages/").json() == {"messages": [], "older": None}
    (shown,) = as_bob.get("/messages/").json()["messages"]
    assert shown | {"created": ""} == {
        "message_id": message.pk,
        "title": "Hello",
        "text": "Line 1\nLine 2",
        "from": "ada",
        "link": None,
        "read": False,
        "created": "",
    }


def test_to_oneself(as_ada: Client) -> None:
    assert post(as_ada, GOOD | {"to": "ada", "text": ""}).status_code == 201


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"to": "nobody"}, 404, "to"),
        ({"to": "x" * 1000}, 404, "to"),
        ({"to": "bo\0b"}, 404, "to"),
        ({"to": "\ud800"}, 404, "to"),
        ({"to": 7}, 400, "to"),
        ({"to": None}, 400, "to"),
        ({"title": ""}, 400, "title"),
        ({"title": "  "}, 400, "title"),
        ({"title": "\u200b \u2060"}, 400, "title"),
        ({"title": "a\nb"}, 400, "title"),
        ({"title": "a\x00b"}, 400, "title"),
        ({"title": "a\x9bb"}, 400, "title"),
        ({"title": "\udc00"}, 400, "title"),
        ({"title": "x" * 201}, 400, "title"),
        ({"title": ["x"]}, 400, "title"),
        ({"text": "x" * 10_001}, 400, "text"),
        ({"text": "a\x1b[31m"}, 400, "text"),
        ({"text": None}, 400, "text"),
        ({"subject": "x"}, 400, "subject"),
    ],
)
def test_what_is_refused(as_ada: Client, bob: Any, change: dict[str, Any], status: int, field: str) -> None:
    answer = post(as_ada, GOOD | change)
    assert (answer.status_code, answer.json()["error"]["field"]) == (status, field)
    assert not Message.objects.exists() and not Update.objects.exists()


def test_limits_are_in_the_error(as_ada: Client, bob: Any) -> None:
    assert post(as_ada, GOOD | {"title": "x" * 201}).json()["error"]["limit"] == 200
    assert post(as_ada, GOOD | {"title": "x" * 200, "text": "ö" * 10_000}).status_code == 201


def test_a_field_that_is_missing(as_ada: Client, bob: Any) -> None:
    answer = post(as_ada, {"to": "bob", "title": "x"})
    assert answer.json()["error"] == {"field": "text", "detail": "text is missing"}


def test_a_deactivated_recipient_is_unknown(as_ada: Client, bob: Any) -> None:
    bob.is_active = False
    bob.save()
    assert post(as_ada, GOOD).status_code == 404


def test_signed_out_is_401_and_other_methods_405(as_ada: Client) -> None:
    assert post(Client(), GOOD).status_code == 401
    assert Client().get("/messages/").status_code == 401
    assert as_ada.put("/messages/").status_code == 405


@pytest.mark.django_db(transaction=True)
def test_a_message_that_is_rolled_back_is_not_pushed(ada: Any) -> None:
    from django.db import transaction

    with pytest.raises(ZeroDivisionError), transaction.atomic():
        send(ada, "never")
        _ = 1 / 0
    assert not Message.objects.exists() and not Update.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_key_pushes_once(ada: Any) -> None:
    for _ in range(2):
        send(ada, "done", key="crop-1-ended")
    assert len(pushed()) == 1


def test_links_follow_the_prefix(ada: Any) -> None:
    set_script_prefix("/catmaid/")
    try:
        message = send(ada, "x", link="/catmaid/crops/1/download/")
        assert message.link == "crops/1/download/"
    finally:
        set_script_prefix("/")
    client = Client()
    client.force_login(ada)
    assert client.get("/messages/").json()["messages"][0]["link"] == "/crops/1/download/"


def test_markup_is_shown_as_text(as_ada: Client, ada: Any) -> None:
    send(ada, "<script>alert(1)</script>", "<img src=x onerror=alert(2)>\n\n'\"&")
    page = as_ada.get("/messages/", headers={"Accept": "text/html"}).content.decode()
    assert "<script>alert" not in page and "<img src=x" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
