"""On SQLite, the hub watches the database's file for commits. The poll is too slow to help here."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from harness.waiting import wait_until
from updates_lab.site import SOON, Person, Served, Site

SLOW_POLL = '{"POLL_SECONDS": 60}'
AT_ONCE = 0.5  # seconds; it takes 15 ms on an idle machine


def test_an_update_arrives_long_before_the_poll(
    serve: Callable[..., Served], site: Site, person: Person
) -> None:
    served = serve(HUBSITE_NOTIFY="", HUBSITE_LAYER="none", HUBSITE_LIMITS=SLOW_POLL)
    with served.connect(person) as socket:
        socket.hello()
        for number in range(5):
            site.send(person.stream, number)
            assert socket.numbers(1, timeout=AT_ONCE) == [number]
    _, report = served.health()
    assert (report["status"], report["way"]) == ("ok", "data_version")
    assert report["age"] < 1
    assert not report["layer"]["configured"] and not report["notify"]["configured"]
    assert served.stop() == 0
    assert "Traceback" not in served.text()


def test_a_layer_in_memory_is_not_named_as_the_way(serve: Callable[..., Served]) -> None:
    served = serve(HUBSITE_NOTIFY="", HUBSITE_LAYER="memory")
    wait_until(lambda: served.health()[1]["layer"]["works"], SOON, "the first loop-back")
    assert served.health()[1]["way"] == "data_version"


def test_an_idle_database_is_not_polled_more_often(serve: Callable[..., Served], site: Site) -> None:
    served = serve(HUBSITE_NOTIFY="", HUBSITE_LAYER="none", HUBSITE_LIMITS=SLOW_POLL)
    wait_until(lambda: served.health()[1]["counters"].get("hints"), SOON, "the first look")
    wait_until(lambda: served.health()[1]["counters"]["polls"] == 2, SOON, "its poll")
    looks = served.health()[1]["age"]
    assert looks is not None
    wait_until(lambda: served.health()[1]["age"] != looks, SOON, "another look")
    assert served.health()[1]["counters"]["polls"] == 2
    site.anonymous_session()  # another table
    wait_until(lambda: served.health()[1]["counters"]["polls"] > 2, SOON, "a poll")


def test_a_locked_database_is_watched_on(serve: Callable[..., Served], site: Site, person: Person) -> None:
    served = serve(HUBSITE_NOTIFY="", HUBSITE_LAYER="none", HUBSITE_LIMITS=SLOW_POLL)
    with served.connect(person) as socket:
        socket.hello()
        writer = sqlite3.connect(site.database_url.removeprefix("sqlite://"), isolation_level=None)
        writer.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > 0.3 and served.health()[1]["age"] < 1, SOON, "a look")
        writer.execute("COMMIT")
        writer.close()
        site.send(person.stream, 1)
        assert socket.numbers(1, timeout=AT_ONCE) == [1]
    assert served.health()[1]["data_version"]["failures"] == 0
