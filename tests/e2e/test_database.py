"""A frozen PostgreSQL: the kernel acknowledges data on open connections, but the server does not respond."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import requests

from harness.faults import PAUSE
from harness.stack import Stack
from harness.waiting import wait_until

# Seconds. A request takes four: one for its open connection and three for a new one. Twelve requests share
# eight threads, of which polls get two.
BOUND = 12.0


def test_polls_fail_in_time_and_work_as_soon_as_it_resumes(healed: Stack) -> None:
    cookies = healed.browser("alice").cookies

    def get(path: str) -> requests.Response:
        return requests.get(f"{healed.url}{path}", headers={"Cookie": cookies}, timeout=60)

    with ThreadPoolExecutor(40) as pool:
        answers = list(
            pool.map(get, ["/messages/"] * 40)
        )  # each of Gunicorn's threads now has its connection
        assert {answer.status_code for answer in answers} == {200}
        with PAUSE(healed.service("postgres")):
            answers = list(pool.map(get, ["/updates/"] * 12))
        wait_until(lambda: get("/updates/").status_code == 200, BOUND, "polls that are answered")
    healed.service("postgres").wait_healthy()
    assert {answer.status_code for answer in answers} == {503}
    waits: dict[str, list[int]] = defaultdict(list)
    for answer in answers:
        waits[answer.json()["error"]["detail"].partition(";")[0]].append(int(answer.headers["Retry-After"]))
    # Those that have a place ask the database. The others do not wait for one.
    assert set(waits.pop("the database can't be reached at the moment")) == {5}
    assert set(waits) <= {"too many pages poll at once"}
    assert all(1 <= seconds <= 2 for refused in waits.values() for seconds in refused)
    assert {answer.headers["X-Backend"] for answer in answers} == {"wsgi"}
    assert max(answer.elapsed.total_seconds() for answer in answers) < BOUND


def test_a_page_fails_in_time_with_an_explanation(healed: Stack) -> None:
    alice = healed.browser("alice")
    html = {"Accept": "text/html"}
    assert alice.get("/messages/", headers=html).status_code == 200
    with PAUSE(healed.service("postgres")):
        page = alice.get("/messages/", headers=html)
    healed.service("postgres").wait_healthy()
    assert (page.status_code, page.headers.get("Retry-After")) == (503, "5")
    assert "database" in page.text and page.elapsed.total_seconds() < BOUND
