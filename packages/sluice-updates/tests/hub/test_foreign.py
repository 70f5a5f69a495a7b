"""Another database's publisher on the same broker: a test run, a copy of the site, staging beside production.

It reaches no page and closes no connection. Each test sends by a real RabbitMQ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import psycopg
import pytest

from harness.servers import Postgres, RabbitMQ
from harness.waiting import wait_until
from updates_lab.site import SOON, Person, Served, Site

# So rarely that only wake-ups matter.
SLOW_POLL = '{"POLL_SECONDS": 60, "COMPARE_SECONDS": 300}'
Sites = tuple[Site, Site]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def sites(
    request: pytest.FixtureRequest, rabbitmq: RabbitMQ, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sites]:
    """Two sites with a database each. Both publish to one broker."""
    folder = tmp_path_factory.mktemp("foreign")
    with ExitStack() as stack:
        urls = [f"sqlite://{folder}/{name}.sqlite3" for name in ("own", "foreign")]
        if request.param == "postgresql":
            server: Postgres = request.getfixturevalue("postgresql")
            with psycopg.connect(server.url, autocommit=True) as connection:
                for name in ("own", "foreign"):
                    connection.execute(f"DROP DATABASE IF EXISTS hub_{name} WITH (FORCE)")
                    connection.execute(f"CREATE DATABASE hub_{name}")
            urls = [
                urlsplit(server.url)._replace(path=f"/hub_{name}").geturl() for name in ("own", "foreign")
            ]
        own, foreign = (Site(url, HUBSITE_PUBLISHER_URL=rabbitmq.url) for url in urls)
        for site in (own, foreign):
            stack.callback(site.close)
            site.migrate()
        yield own, foreign


@pytest.fixture
def served(sites: Sites, rabbitmq: RabbitMQ, serve: Callable[..., Served]) -> Served:
    """A server of the first site, which receives the wake-ups of both."""
    served = serve(
        on=sites[0], HUBSITE_LAYER="rabbitmq", HUBSITE_LAYER_URL=rabbitmq.url, HUBSITE_LIMITS=SLOW_POLL
    )
    wait_until(lambda: served.health()[1]["layer"]["works"], SOON, "the first loop-back")
    return served


@pytest.fixture
def person(sites: Sites) -> Person:
    """A new user of the first site."""
    return sites[0].person()


def foreign_wake_ups(served: Served) -> int:
    """How many the hub has dropped so far."""
    return served.health()[1]["counters"].get("foreign_wake_ups", 0)


def test_it_reaches_no_page(sites: Sites, served: Served, person: Person) -> None:
    own, foreign = sites
    with served.connect(person, f"streams={person.stream}") as socket:
        socket.hello()
        foreign.send(person.stream, 666)
        assert socket.is_quiet(1)
        wait_until(lambda: foreign_wake_ups(served) == 1, SOON, "the foreign wake-up")
        own.send(person.stream, 1)
        assert socket.numbers(1) == [1]


def test_it_closes_nothing(sites: Sites, served: Served, person: Person) -> None:
    """The other database has the same offsets with other tags, as if this one's past had changed."""
    own, foreign = sites
    with served.connect(person, f"streams={person.stream}") as socket:
        socket.hello()
        own.send(person.stream, 1, 2)
        assert socket.numbers(2) == [1, 2]
        foreign.send(person.stream, 666, 667, 668)
        assert socket.is_quiet(1)
        wait_until(lambda: foreign_wake_ups(served) == 3, SOON, "the foreign wake-ups")
        own.send(person.stream, 3)
        assert socket.numbers(1) == [3]
    assert served.health()[1]["counters"].get("histories_rewritten", 0) == 0


def test_it_is_logged_once_with_the_fix(
    sites: Sites, rabbitmq: RabbitMQ, serve: Callable[..., Served]
) -> None:
    own, foreign = sites
    served = serve(on=own, HUBSITE_LAYER="rabbitmq", HUBSITE_LAYER_URL=rabbitmq.url)
    wait_until(lambda: served.health()[1]["layer"]["works"], SOON, "the first loop-back")
    for number in range(3):
        foreign.send("all", number)
        wait_until(lambda: "arrive through the channel layer and are dropped" in served.text(), SOON, "it")
    assert served.text().count("arrive through the channel layer and are dropped") == 1
    assert foreign.identity() in served.text() and "give each a vhost of its own" in served.text()
    assert served.stop() == 0


def test_a_publisher_of_an_earlier_version_costs_a_second(
    sites: Sites, rabbitmq: RabbitMQ, serve: Callable[..., Served], person: Person
) -> None:
    """During a roll it names no database. The poll delivers its updates."""
    own = Site(sites[0].database_url)
    served = serve(on=own, HUBSITE_LAYER="rabbitmq", HUBSITE_LAYER_URL=rabbitmq.url)
    wait_until(lambda: served.health()[1]["layer"]["works"], SOON, "the first loop-back")
    with served.connect(person, f"streams={person.stream}") as socket:
        socket.hello()
        own.send(person.stream, 1, 2)
        served.wake(own.wake_ups(person.stream), version=0)
        assert socket.numbers(2) == [1, 2]
    assert foreign_wake_ups(served) == 1
    assert served.text().count("names no database") == 1
    own.close()


@pytest.mark.parametrize("named", [7, ["x"], "", "x" * 1000], ids=str)
def test_nonsense_in_place_of_the_identity(
    sites: Sites, served: Served, person: Person, named: object
) -> None:
    own, _ = sites
    with served.connect(person, f"streams={person.stream}") as socket:
        socket.hello()
        served.wake([[person.stream, 1, "f" * 16, "{}"]], database=named)
        wait_until(lambda: foreign_wake_ups(served) == 1, SOON, "the wake-up")
        own.send(person.stream, 1)
        assert socket.numbers(1) == [1]
    assert "Traceback" not in served.text()


def test_a_new_identity_is_noticed_while_the_site_runs(
    sites: Sites, rabbitmq: RabbitMQ, serve: Callable[..., Served], person: Person
) -> None:
    """`reset_xids` while publishers and servers run: the next wake-up makes the server read it again."""
    own, _ = sites
    served = serve(
        on=own,
        HUBSITE_LAYER="rabbitmq",
        HUBSITE_LAYER_URL=rabbitmq.url,
        HUBSITE_LIMITS='{"COMPARE_SECONDS": 300}',
    )
    wait_until(lambda: served.health()[1]["layer"]["works"], SOON, "the first loop-back")
    before = own.identity()
    own.reset_xids()
    assert own.identity() != before
    with served.connect(person, f"streams={person.stream}") as socket:
        socket.hello()
        own.send(person.stream, 1)
        assert socket.numbers(1) == [1]

        def arrives_by_a_wake_up() -> bool:
            taken = served.health()[1]["counters"].get("wake_ups", 0)
            own.send(person.stream, 2)
            socket.frame()
            return served.health()[1]["counters"].get("wake_ups", 0) > taken

        wait_until(arrives_by_a_wake_up, SOON, "wake-ups with the new identity")
    assert "another database" not in served.text()
