"""GET updates/: the responses of PROTOCOL.md's polling."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import OperationalError, connections, transaction
from django.http import HttpResponse
from django.test import RequestFactory

from sluice_updates import history, publish, views
from sluice_updates.addresses import Throttle
from sluice_updates.positions import MAX_URL_BYTES, ZERO
from sluice_updates.views import poll

TAG = "9f3ac1d20b7e4455"


def get(query: str = "", user: Any = None, method: str = "GET") -> HttpResponse:
    request = RequestFactory().generic(method, "/updates/" + query)
    request.user = user or User(pk=7)
    return poll(request)


def answer(query: str = "", **more: Any) -> dict[str, Any]:
    response = get(query, **more)
    assert response.status_code == 200, response.content
    assert response["Content-Type"] == "application/json" and "no-store" in response["Cache-Control"]
    found: dict[str, Any] = json.loads(response.content)
    assert set(found) == {"streams", "updates", "more"}
    return found


def refusal(query: str = "", **more: Any) -> tuple[int, dict[str, Any]]:
    response = get(query, **more)
    assert "no-store" in response["Cache-Control"]
    return response.status_code, json.loads(response.content)["error"]


def test_the_default_streams(database: str) -> None:
    publish("user:7", "a", {})
    head = str(history.heads(["user:7"])["user:7"].head)
    assert answer() == {
        "streams": {"user:7": {"head": head}, "all": {"head": "0-0"}},
        "updates": [],
        "more": False,
    }


def test_the_updates_missed(database: str) -> None:
    publish("user:7", "a", {"n": 1})
    first = history.heads(["user:7"])["user:7"].head
    publish("user:7", "b", {"n": 2})
    head = history.heads(["user:7"])["user:7"].head
    found = answer(f"?since=user:7/{first},all/0-0")
    assert found["streams"] == {
        "user:7": {"head": str(head), "recovered": True},
        "all": {"head": "0-0", "recovered": True},
    }
    assert found["updates"] == [
        {"event": "b", "payload": {"n": 2}, "stream": "user:7", "position": str(head)}
    ]


def test_what_cannot_be_replayed(database: str) -> None:
    publish("all", "a", {})
    found = answer(f"?streams=all&since=all/1-{TAG}")
    assert found["streams"]["all"]["recovered"] is False and found["updates"] == [] and found["more"] is False


def test_more(database: str) -> None:
    with transaction.atomic(using=database):
        for _ in range(501):
            publish("all", "e", {})
    found = answer("?streams=all&since=all/0-0")
    assert len(found["updates"]) == 500 and found["more"] is True
    found = answer(f"?streams=all&since=all/{found['updates'][-1]['position']}")
    assert len(found["updates"]) == 1 and found["more"] is False


def test_denied_streams(database: str) -> None:
    publish("user:8", "secret", {})
    found = answer("?streams=user:8,all,project:9&since=user:8/0-0")
    assert found["streams"] == {
        "user:8": {"denied": True},
        "all": {"head": "0-0"},
        "project:9": {"denied": True},
    }
    assert found["updates"] == []
    assert answer("?streams=user:8&since=user:8/0-0")["streams"] == {"user:8": {"denied": True}}


def test_positions_of_other_streams_are_ignored(database: str) -> None:
    publish("all", "a", {})
    found = answer("?streams=user:7&since=all/0-0,user:8/0-0")
    assert found == {"streams": {"user:7": {"head": "0-0"}}, "updates": [], "more": False}


@pytest.mark.parametrize("user", [AnonymousUser(), User(pk=7, is_active=False)])
def test_signed_out(database: str, user: Any) -> None:
    assert refusal(user=user) == (401, {"detail": "sign in to receive updates"})
    assert refusal("?streams=%ff", user=user)[0] == 401


def public_pages(user: Any, stream: str) -> bool:
    return stream.startswith(("page:", "user:"))


@pytest.fixture
def anonymous(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SLUICE_UPDATES_ANONYMOUS = True
    settings.SLUICE_UPDATES_MAY_READ = f"{__name__}.public_pages"
    monkeypatch.setattr(views, "_throttle", Throttle())


def test_an_anonymous_reader_gets_public_streams(database: str, anonymous: None) -> None:
    publish("page:5", "a", {})
    found = answer("?streams=page:5,all&since=page:5/0-0", user=AnonymousUser())
    assert found["streams"]["all"] == {"denied": True} and found["streams"]["page:5"]["recovered"] is True
    assert [update["stream"] for update in found["updates"]] == ["page:5"]


@pytest.mark.parametrize("query", ["", "?streams=all", "?streams=user:7", "?streams=page:5,user:7"])
def test_an_anonymous_reader_is_asked_to_sign_in_for_the_rest(
    database: str, anonymous: None, query: str
) -> None:
    assert refusal(query, user=AnonymousUser()) == (401, {"detail": "sign in to receive updates"})


def test_an_inactive_user_is_no_anonymous_reader(database: str, anonymous: None) -> None:
    assert refusal("?streams=page:5", user=User(pk=7, is_active=False))[0] == 401


def test_anonymous_readers_of_one_address_poll_so_often_and_malformed_polls_come_first(
    database: str, anonymous: None, settings: Any
) -> None:
    settings.SLUICE_UPDATES_MAX_POLLS_PER_ADDRESS = 1
    assert refusal("?streams=BAD", user=AnonymousUser())[0] == 400
    assert get("?streams=page:5", user=AnonymousUser()).status_code == 200
    response = get("?streams=page:5", user=AnonymousUser())
    assert response.status_code == 429 and 0 < int(response["Retry-After"]) <= 60
    assert "no-store" in response["Cache-Control"]
    assert get("?streams=page:5").status_code == 200  # a user


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?streams=All", "streams"),
        ("?streams=all,all", "streams"),
        ("?streams=" + ",".join(f"s:{n}" for n in range(65)), "streams"),
        ("?since=all", "since"),
        (f"?since=all/1-{TAG},all/1-{TAG}", "since"),
        ("?since=all/1-xyz", "since"),
        ("?streams=%ff", None),
    ],
)
def test_malformed(database: str, query: str, field: str | None) -> None:
    status, error = refusal(query)
    assert status == 400 and error.get("field") == field and error["detail"]


def test_too_long(database: str) -> None:
    assert refusal("?x=" + "y" * MAX_URL_BYTES)[0] == 414


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods(database: str, method: str) -> None:
    response = get(method=method)
    assert response.status_code == 405 and response["Allow"] == "GET, HEAD"


def test_head(database: str) -> None:
    assert get(method="HEAD").status_code == 200


def test_the_database_is_down(database: str, caplog: pytest.LogCaptureFixture) -> None:
    publish("all", "a", {})

    def refuse(*arguments: Any) -> None:
        raise OperationalError("connection refused\n\tis the server running?")

    # A lost connection fails in the same way: at its next query.
    with connections[database].execute_wrapper(lambda *arguments: refuse(*arguments)):
        response = get("?since=all/0-0")
    assert response.status_code == 503 and int(response["Retry-After"]) > 0
    assert "no-store" in response["Cache-Control"] and "error" in json.loads(response.content)
    assert caplog.messages == ["updates: a poll failed: connection refused is the server running?"]
    assert not any(record.exc_info for record in caplog.records)


def test_the_database_fails_while_the_user_is_read(database: str) -> None:
    class Unreachable:
        @property
        def is_authenticated(self) -> bool:
            raise OperationalError("connection refused")

    assert get(user=Unreachable()).status_code == 503


def test_special_characters_in_a_payload(database: str) -> None:
    publish("all", "e", {"text": "</script>\u2028 é \u0000"})
    assert answer("?streams=all&since=all/0-0")["updates"][0]["payload"] == {
        "text": "</script>\u2028 é \u0000"
    }


def only_projects(user: Any, stream: str) -> bool:
    return stream.startswith("project:")


def test_a_projects_own_rule(database: str, settings: Any) -> None:
    settings.SLUICE_UPDATES_MAY_READ = f"{__name__}.only_projects"
    publish("project:9", "e", {})
    found = answer("?streams=project:9,user:7&since=project:9/0-0")
    assert found["streams"]["user:7"] == {"denied": True} and len(found["updates"]) == 1


def test_all_positions_from_polling_alone(database: str) -> None:
    """A client with no other transport gets every update once, in order."""
    position, seen = ZERO, []
    for count in (3, 0, 700, 1):
        with transaction.atomic(using=database):
            for _ in range(count):
                publish("all", "e", {})
        more = True
        while more:
            found = answer(f"?streams=all&since=all/{position}")
            more = found["more"]
            for update in found["updates"]:
                position = update["position"]
                seen.append(int(position.split("-")[0]))
    assert seen == list(range(1, 705))


def test_polls_leave_threads_for_the_sites_other_requests(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at a time, and no waiting. Each of the others is told a time of its own, at a steady pace."""
    monkeypatch.setattr(views, "_turns", views.Turns())  # nobody has been refused yet
    for _ in range(views.POLLS_AT_ONCE):
        assert views._turns.take()
    try:
        refused = [get() for _ in range(3 * views.POLLS_PER_SECOND)]
    finally:
        for _ in range(views.POLLS_AT_ONCE):
            views._turns.leave()
    assert {response.status_code for response in refused} == {503}
    times = [int(response["Retry-After"]) for response in refused]
    assert times == sorted(times) and times[0] == 1 and 3 <= times[-1] <= 4
    assert answer()["more"] is False


def test_times_to_come_back_end_after_a_minute() -> None:
    turns = views.Turns()
    times = [turns.seconds() for _ in range(3 * views.LONGEST_SECONDS * views.POLLS_PER_SECOND)]
    assert max(times) <= views.LONGEST_SECONDS
    late = times[-views.POLLS_PER_SECOND * views.LONGEST_SECONDS :]
    assert len(set(late)) > views.LONGEST_SECONDS / 4, "they don't come back at the same moment"


@pytest.mark.parametrize("query", ["", "?since=x", "?streams=No Stream"])
def test_each_poll_gives_its_place_back(database: str, query: str) -> None:
    for _ in range(3 * views.POLLS_AT_ONCE):
        assert get(query).status_code in (200, 400)
    assert get("", AnonymousUser()).status_code == 401
    assert answer()["more"] is False
