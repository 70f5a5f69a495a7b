"""RabbitMQ makes updates fast. Nothing else depends on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from harness.servers import RabbitMQ
from harness.waiting import wait_until
from updates_lab.site import SOON, Served, Site

SLOW_POLL = '{"POLL_SECONDS": 20}'


@pytest.fixture(scope="module")
def site(site: Site, rabbitmq: RabbitMQ) -> Iterator[Site]:
    """The same site, whose publishers have a broker."""
    site = Site(site.database_url, HUBSITE_PUBLISHER_URL=rabbitmq.url)
    try:
        yield site
    finally:
        site.close()


def test_an_update_arrives_long_before_the_poll(
    rabbitmq: RabbitMQ, site: Site, serve: Callable[..., Served]
) -> None:
    served = serve(
        on=site, HUBSITE_LAYER="rabbitmq", HUBSITE_LAYER_URL=rabbitmq.url, HUBSITE_LIMITS=SLOW_POLL
    )
    updates_come_by_wake_ups(served, site)
    assert served.stop() == 0


def updates_come_by_wake_ups(served: Served, site: Site) -> None:
    person = site.person()
    wait_until(lambda: served.health()[1]["layer"]["works"], SOON, "the first loop-back")
    with served.connect(person) as socket:
        socket.hello()
        began = time.monotonic()
        site.send(person.stream, *range(50))
        assert socket.numbers(50) == list(range(50))
        assert time.monotonic() - began < 5
    assert served.health()[1]["counters"]["wake_ups"] > 0


def test_two_servers_both_deliver(rabbitmq: RabbitMQ, site: Site, serve: Callable[..., Served]) -> None:
    layer = {"HUBSITE_LAYER": "rabbitmq", "HUBSITE_LAYER_URL": rabbitmq.url, "HUBSITE_LIMITS": SLOW_POLL}
    servers = [serve(on=site, **layer) for _ in range(2)]
    person = site.person()
    for served in servers:
        wait_until(lambda served=served: served.health()[1]["layer"]["works"], SOON, "the first loop-back")  # type: ignore[misc]
    with servers[0].connect(person) as one, servers[1].connect(person) as two:
        one.hello(), two.hello()
        site.send(person.stream, 1)
        assert one.numbers(1) == two.numbers(1) == [1]


def test_publishing_and_delivery_by_tls(site: Site, rabbitmq: RabbitMQ, serve: Callable[..., Served]) -> None:
    """TLS on both paths: the publisher's and the channel layer's."""
    trust = {"SSL_CERT_FILE": str(rabbitmq.authority)}
    site = Site(site.database_url, HUBSITE_PUBLISHER_URL=rabbitmq.tls_url, **trust)
    try:
        layer = {"HUBSITE_LAYER": "rabbitmq", "HUBSITE_LAYER_URL": rabbitmq.tls_url}
        served = serve(on=site, **layer, HUBSITE_LIMITS=SLOW_POLL, **trust)
        updates_come_by_wake_ups(served, site)
    finally:
        site.close()


def test_a_certificate_that_is_not_trusted_is_reported(
    site: Site, rabbitmq: RabbitMQ, serve: Callable[..., Served]
) -> None:
    served = serve(on=site, HUBSITE_LAYER="rabbitmq", HUBSITE_LAYER_URL=rabbitmq.tls_url)
    wait_until(lambda: "certificate is refused" in str(served.health()[1]), SOON, "the reason")
    assert served.health()[1]["status"] == "degraded"


@pytest.mark.parametrize("fault", ["pause", "stop"])
def test_the_database_suffices_while_the_broker_is_down(
    rabbitmq: RabbitMQ, site: Site, serve: Callable[..., Served], fault: str
) -> None:
    served = serve(on=site, HUBSITE_LAYER="rabbitmq", HUBSITE_LAYER_URL=rabbitmq.url)
    person = site.person()
    wait_until(lambda: served.health()[1]["status"] == "ok", SOON, "health")
    with served.connect(person) as socket:
        socket.hello()
        getattr(rabbitmq, fault)()
        try:
            site.send(person.stream, 1)
            assert socket.numbers(1, timeout=2) == [1]
            wait_until(lambda: served.health()[1]["status"] == "degraded", 15, "notice")
            assert served.health()[0] == 200
            site.send(person.stream, 2)
            assert socket.numbers(1, timeout=2) == [2]
        finally:
            rabbitmq.resume() if fault == "pause" else rabbitmq.start()
        wait_until(lambda: served.health()[1]["status"] == "ok", 30, "health")
        site.send(person.stream, 3)
        assert socket.numbers(1) == [3]
    assert served.process.poll() is None
