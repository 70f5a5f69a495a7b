"""Backends that start, stop and move: nginx finds them within 10 s without a reload, and runs without any
backend.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import requests

from harness import raw
from harness.probe import Probe
from harness.stack import Stack
from harness.waiting import wait_until

SETTLED = 10.0
PATHS = {"wsgi": "/accounts/login/", "asgi": "/channels/updates/sse"}


@pytest.fixture(scope="module")
def alone(image_tag: str) -> Iterator[Stack]:
    """nginx alone; no other service was ever started."""
    stack = Stack(image_tag)
    try:
        yield stack.boot("nginx")
    finally:
        stack.close()


@pytest.mark.parametrize("backend", PATHS)
def test_nginx_alone_names_the_missing_backend(alone: Stack, backend: str) -> None:
    began = time.monotonic()
    answer = raw.get(alone.port, PATHS[backend])
    assert (answer.status, answer.backend) == (503, "nginx") and backend in answer.body.decode()
    assert time.monotonic() - began < 3
    assert raw.upgrade(alone.port, "/channels/updates/").status == 503


def test_nginx_alone_is_healthy_and_finds_what_is_started_later(alone: Stack) -> None:
    assert alone.service("nginx")[0].healthy
    alone.up(options=("--no-recreate",))
    for backend, path in PATHS.items():
        wait_until(lambda p=path: raw.get(alone.port, p).status == 200, SETTLED, f"{backend} found")  # type: ignore[misc]


@pytest.mark.parametrize("backend", PATHS)
def test_a_backend_recreated_at_another_address_is_found(healed: Stack, backend: str) -> None:
    with probe(healed, backend) as asking:
        healed.service(backend).recreate()
        back = time.monotonic()
        watch(asking, back + SETTLED + 5)
    asking.assert_clean(back + SETTLED)


@pytest.mark.parametrize("backend", PATHS)
def test_replicas_are_found_and_forgotten_without_a_failed_request(healed: Stack, backend: str) -> None:
    with probe(healed, backend) as asking:
        healed.up(backend, scale={backend: 3}, options=("--no-recreate", "--no-deps"))
        up = time.monotonic()
        wait_until(lambda: _serving(healed, backend) == 3, SETTLED, "all three serve")
        watch(asking, up + SETTLED)
        grown = len(asking.failures())
        healed.up(backend, scale={backend: 1}, options=("--no-recreate", "--no-deps"))
        down = time.monotonic()
        watch(asking, down + SETTLED + 5)
    assert grown == 0, asking.failures()[0]
    asking.assert_clean(down + SETTLED)


def test_scaling_as_an_operator_does(healed: Stack) -> None:
    healed.up(scale={"wsgi": 2, "asgi": 3}, options=("--no-recreate",))
    for backend, count in {"wsgi": 2, "asgi": 3}.items():
        with probe(healed, backend) as asking:
            wait_until(
                lambda b=backend, c=count: _serving(healed, b) == c,  # type: ignore[misc]
                SETTLED,
                f"{count} {backend} serve",
            )
        asking.assert_clean(at_least=1)
    healed.up(scale={"wsgi": 1, "asgi": 1}, options=("--no-recreate",))


def test_a_post_that_reached_gunicorn_is_not_sent_twice(healed: Stack) -> None:
    """While Gunicorn's containers stop and start, every accepted message exists once: nginx must not retry a
    request that may have taken effect.
    """
    alice = healed.browser("alice")
    healed.person("bob")
    body = {"to": "bob", "title": "once", "text": "…"}
    with Probe(lambda: alice.post("/messages/", body), rate=20) as asking:
        healed.up("wsgi", scale={"wsgi": 2}, options=("--no-recreate", "--no-deps"))
        healed.up("wsgi", scale={"wsgi": 1}, options=("--no-recreate", "--no-deps"))
    accepted = sum(sample.status == 201 for sample in asking.samples)
    stored = int(
        healed.psql("SELECT count(*) FROM sluice_updates_update WHERE payload LIKE '%\"once\"%'")[0][0]
    )
    unknown = len(asking.failures())
    assert accepted > 20 and accepted <= stored <= accepted + unknown


def probe(stack: Stack, backend: str) -> Probe:
    """Requests a page of that backend twenty times a second, each time on a new connection."""
    url = stack.url + PATHS[backend]
    return Probe(lambda: requests.get(url, headers={"Connection": "close"}, timeout=15))


def watch(asking: Probe, until: float) -> None:
    """Let the probe run until that moment (monotonic)."""
    wait_until(lambda: asking.samples and asking.samples[-1].at >= until, 90, "the probe's end")


def _serving(stack: Stack, backend: str) -> int:
    """Number of addresses that served nginx recently."""
    last = stack.service("nginx")[0].logs().splitlines()[-60:]
    addresses = {replica.addresses["web"] for replica in stack.service(backend)}
    return sum(any(f'upstream="{address}:' in line for line in last) for address in addresses)
