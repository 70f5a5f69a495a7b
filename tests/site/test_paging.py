"""Messages and crops, a page at a time: all are reachable, even if some are added or deleted meanwhile."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from common import paging
from inbox.models import Message
from inbox.sending import send
from volumes.models import Crop

pytestmark = pytest.mark.django_db(transaction=True)
HTML = {"Accept": "text/html"}


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "SIZE", 3)


@pytest.fixture
def messages(ada: Any, bob: Any) -> list[int]:
    """Ids of Ada's messages, newest first, with Bob's between them."""
    for number in range(7):
        send(ada, f"Message {number}")
        send(bob, "Not hers")
    return list(Message.objects.filter(recipient=ada).values_list("pk", flat=True))


@pytest.fixture
def crops(ada: Any, volume: Any) -> list[int]:
    box = {"x0": 0, "x1": 1, "y0": 0, "y1": 1, "z0": 0, "z1": 1}
    made = [Crop.objects.create(owner=ada, volume=volume, state="done", **box).pk for _ in range(7)]
    return made[::-1]


def walk(client: Client, url: str, kind: str) -> list[list[int]]:
    """The ids on each page, from this one on, by the link to the next page."""
    pages = []
    while url:
        answer = client.get(url).json()
        pages.append([row[f"{kind}_id"] for row in answer[f"{kind}s"]])
        url = answer["older"]
    return pages


@pytest.mark.parametrize("kind", ["message", "crop"])
def test_every_row_is_on_one_page(as_ada: Client, request: pytest.FixtureRequest, kind: str) -> None:
    ids = request.getfixturevalue(f"{kind}s")
    assert walk(as_ada, f"/{kind}s/", kind) == [ids[:3], ids[3:6], ids[6:]]


def test_a_full_page_that_is_the_last_leads_nowhere(as_ada: Client, messages: list[int]) -> None:
    Message.objects.filter(pk=messages[0]).delete()
    assert walk(as_ada, "/messages/", "message") == [messages[1:4], messages[4:]]


def test_new_rows_do_not_shift_the_pages(as_ada: Client, ada: Any, messages: list[int]) -> None:
    older = as_ada.get("/messages/").json()["older"]
    send(ada, "Another")
    Message.objects.filter(pk=messages[2]).delete()  # the next page's link names this message
    assert walk(as_ada, older, "message") == [messages[3:6], messages[6:]]


@pytest.mark.parametrize("page", ["message", "crop"])
def test_the_pages_links_lead_through_and_back(
    as_ada: Client, request: pytest.FixtureRequest, page: str
) -> None:
    ids = request.getfixturevalue(f"{page}s")

    def links(url: str) -> tuple[bool, bool]:
        text = as_ada.get(url, headers=HTML).content.decode()
        older = f'id="older" class="button plain" rel="next" href="/{page}s/?before='
        return (f'id="newest" class="button plain" href="/{page}s/"' in text, older in text)

    assert links(f"/{page}s/") == (False, True)
    assert links(f"/{page}s/?before={ids[2]}") == (True, True)
    assert links(f"/{page}s/?before={ids[5]}") == (True, False)
    end = as_ada.get(f"/{page}s/?before={ids[6]}", headers=HTML).content.decode()
    assert "No older" in end and 'id="newest"' in end


def test_few_have_no_links(as_ada: Client, ada: Any) -> None:
    send(ada, "Only one")
    assert 'id="turning"' not in as_ada.get("/messages/", headers=HTML).content.decode()


def test_a_button_on_a_page_of_older_ones_leads_back_there(as_ada: Client, messages: list[int]) -> None:
    page = as_ada.get(f"/messages/?before={messages[2]}", headers=HTML).content.decode()
    button = f"/messages/{messages[3]}/delete/?before={messages[2]}"
    assert f'action="{button}"' in page
    assert as_ada.post(button, headers=HTML)["Location"] == f"/messages/?before={messages[2]}"
    forged = f"/messages/{messages[4]}/delete/?before=//evil.example"
    assert as_ada.post(forged, headers=HTML)["Location"] == "/messages/"


BAD = [
    "",
    "0",
    "-1",
    "+1",
    "1.0",
    "1e3",
    "1_0",
    "%201",
    "x",
    "%D9%A1",
    "%00",
    "9" * 19,
    "9" * 5000,
    "1&before=2",
]


@pytest.mark.parametrize("path", ["/messages/", "/crops/"])
@pytest.mark.parametrize("before", BAD, ids=lambda value: value[:20])
def test_an_invalid_id_is_refused(as_ada: Client, path: str, before: str) -> None:
    answer = as_ada.get(f"{path}?before={before}")
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "before")
    page = as_ada.get(f"{path}?before={before}", headers=HTML)
    assert page.status_code == 400 and "Before " in page.content.decode()


@pytest.mark.parametrize("path", ["/messages/", "/crops/"])
def test_the_greatest_id_is_one(as_ada: Client, path: str) -> None:
    assert as_ada.get(f"{path}?before={paging.MAX_ID}").status_code == 200


def test_signed_out_comes_first(db: None) -> None:
    assert Client().get("/messages/?before=x").status_code == 401


def test_a_page_is_found_by_id_alone(as_ada: Client, messages: list[int]) -> None:
    """No OFFSET, which would read all the skipped rows."""
    with CaptureQueriesContext(connection) as queries:
        as_ada.get(f"/messages/?before={messages[3]}")
    (query,) = [query["sql"] for query in queries if 'ORDER BY "inbox_message"."id" DESC' in query["sql"]]
    assert f'"id" < {messages[3]}' in query and "LIMIT 4" in query and "OFFSET" not in query
