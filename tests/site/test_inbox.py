"""What users do with their messages. All their pages receive the changes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from inbox import changes
from inbox.models import Message
from inbox.sending import send
from sluice_updates.models import Update

pytestmark = pytest.mark.django_db(transaction=True)
HTML = {"Accept": "text/html"}


@pytest.fixture
def message(ada: Any, bob: Any) -> Message:
    message = send(ada, "Hello", sender=bob)
    Update.objects.all().delete()
    return message


def told() -> list[tuple[str, str, Any]]:
    return [
        (update.stream, update.event, json.loads(update.payload)) for update in Update.objects.order_by("id")
    ]


def test_read_and_unread(as_ada: Client, ada: Any, message: Message) -> None:
    for _ in range(2):  # the second one changes nothing and publishes nothing
        answer = as_ada.post(f"/messages/{message.pk}/read/")
        assert (answer.status_code, answer.json()["read"]) == (200, True)
    assert as_ada.get("/messages/unread/").json() == {"unread": 0}
    assert as_ada.post(f"/messages/{message.pk}/unread/").json()["read"] is False
    assert as_ada.get("/messages/unread/").json() == {"unread": 1}
    payload = {"message_id": message.pk}
    assert told() == [
        (f"user:{ada.pk}", "message-read", payload | {"read": True}),
        (f"user:{ada.pk}", "message-read", payload | {"read": False}),
    ]


def test_delete(as_ada: Client, ada: Any, message: Message) -> None:
    assert as_ada.post(f"/messages/{message.pk}/delete/").json() == {"message_id": message.pk}
    assert not Message.objects.exists()
    assert told() == [(f"user:{ada.pk}", "message-deleted", {"message_id": message.pk})]
    assert as_ada.post(f"/messages/{message.pk}/delete/").status_code == 404
    changes.delete(message)  # the later of two simultaneous deletions
    assert len(told()) == 1


def test_all_read(as_ada: Client, ada: Any, bob: Any, message: Message) -> None:
    others = send(bob, "Not hers")
    newest = send(ada, "Another")
    Update.objects.all().delete()
    for _ in range(2):
        assert as_ada.post("/messages/read/").json() == {"up_to": newest.pk}
    assert set(Message.objects.filter(read=False)) == {others}
    assert told() == [(f"user:{ada.pk}", "messages-read", {"up_to": newest.pk})]


def test_all_of_none(as_ada: Client) -> None:
    assert as_ada.post("/messages/read/").json() == {"up_to": 0}
    assert told() == []


def test_buttons_lead_back_to_the_inbox(as_ada: Client, message: Message) -> None:
    for path in ("read/", f"{message.pk}/read/", f"{message.pk}/unread/", f"{message.pk}/delete/"):
        answer = as_ada.post(f"/messages/{path}", headers=HTML)
        assert (answer.status_code, answer["Location"]) == (302, "/messages/")
    as_ada.post(f"/messages/{message.pk}/delete/", headers=HTML)
    assert "There is no such message" in as_ada.get("/messages/", headers=HTML).content.decode()


@pytest.mark.parametrize("what", ["read", "unread", "delete"])
def test_other_users_messages_are_not_found(as_bob: Client, message: Message, what: str) -> None:
    path = f"/messages/{message.pk}/{what}/"
    assert as_bob.post(path).status_code == 404
    assert Client().post(path).status_code == 401
    assert as_bob.get(path).status_code == 405
    assert Message.objects.filter(read=False).count() == 1 and told() == []


def test_every_page_shows_the_unread_count(as_ada: Client, ada: Any, message: Message, volume: Any) -> None:
    for path in ("/volumes/", f"/volumes/{volume.pk}/", "/crops/", "/messages/", "/messages/new/"):
        page = as_ada.get(path, headers=HTML).content.decode()
        assert "<title>(1) " in page, path
    as_ada.post("/messages/read/")
    assert "<title>Inbox" in as_ada.get("/messages/", headers=HTML).content.decode()


# ---- writing


GOOD = {"to": "bob", "title": "Hello", "text": "Line 1\r\nLine 2"}


def test_a_message_by_the_form(as_ada: Client, bob: Any) -> None:
    answer = as_ada.post("/messages/new/", GOOD, headers=HTML)
    assert (answer.status_code, answer["Location"]) == (302, "/messages/")
    message = Message.objects.get()
    assert (message.recipient, message.title, message.text) == (bob, "Hello", "Line 1\nLine 2")
    assert "Your message to bob was sent" in as_ada.get("/messages/", headers=HTML).content.decode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"to": "nobody"}, "There is no user of this name."),
        ({"to": ""}, "This field is required."),
        ({"title": "  "}, "This field is required."),
        ({"title": "x" * 201}, "at most 200 characters"),
        ({"title": "a\x9bb"}, "It has a character that can’t be shown, U+009B."),
        ({"text": "a\x1b[31m"}, "It has a character that can’t be shown, U+001B."),
        ({"text": "x" * 10_001}, "at most 10000 characters"),
    ],
)
def test_mistakes_are_shown_at_their_field_and_the_input_stays(
    as_ada: Client, bob: Any, change: dict[str, str], words: str
) -> None:
    answer = as_ada.post("/messages/new/", GOOD | {"text": "typed with care"} | change, headers=HTML)
    page = answer.content.decode().replace("&#x27;", "’")
    assert answer.status_code == 422
    assert words in page
    assert 'aria-invalid="true"' in page
    assert "text" in change or "typed with care" in page
    assert not Message.objects.exists()


def test_an_answer_begins_with_the_name(as_ada: Client) -> None:
    page = as_ada.get("/messages/new/?to=b%22%3Eob", headers=HTML).content.decode()
    assert 'value="b&quot;&gt;ob"' in page
