"""`make roll` replaces each service's containers while writers write and clients listen on all three
transports.

Nothing is lost, and clients notice only what docs/how-to/upgrade.md promises.
"""

from __future__ import annotations

import time

import pytest

from harness.checker import Checker
from harness.rolling import roll
from harness.stack import Stack
from harness.waiting import wait_until
from roll.watching import away, busy, codes, containers, failed_posts, go_on, pages, replaced, sockets

BESIDE = ("worker", "celery", "asgi", "wsgi")  # the new container starts beside the old one
BACK = 2.0 + 3.0  # seconds after a 1012: hello's reconnect window, and a handshake
NGINX_AWAY = 8.0  # maximum seconds without nginx
NGINX_BACK = 25.0  # seconds after that until the last client has reconnected


@pytest.mark.parametrize("service", [*BESIDE, "beat"])
def test_nothing_is_lost_and_no_request_fails(healed: Stack, service: str) -> None:
    before = containers(healed)
    with Checker(healed) as checker, pages(healed) as asking:
        clients = busy(checker)
        roll(healed, service)
        go_on(checker)
    report = checker.verdict().check()
    asking.assert_clean()
    assert failed_posts(report.counts) == {}
    assert replaced(before, containers(healed)) == {service}
    if service != "asgi":
        assert [codes(page) for page in sockets(clients)] == [[]] * 4


def test_sockets_are_closed_with_1012_and_reconnect_within_the_window(healed: Stack) -> None:
    with Checker(healed) as checker:
        clients = busy(checker)
        roll(healed, "asgi")
        go_on(checker)
    checker.verdict().check()
    for page in sockets(clients):
        assert codes(page) == [1012], page.name
        assert away(page) <= BACK, page.name


@pytest.mark.parametrize("service", ["asgi", "wsgi"])
def test_two_are_replaced_one_after_the_other(healed: Stack, service: str) -> None:
    healed.up(service, scale={service: 2}, options=("--no-recreate", "--no-deps"))
    before = containers(healed)
    with Checker(healed) as checker, pages(healed) as asking:
        clients = busy(checker)
        roll(healed, service)
        go_on(checker)
    report = checker.verdict().check()
    asking.assert_clean()
    assert failed_posts(report.counts) == {}
    assert replaced(before, containers(healed)) == {service} and len(healed.service(service).replicas) == 2
    expected = {1012} if service == "asgi" else set()
    assert {code for page in sockets(clients) for code in codes(page)} == expected
    healed.up(service, scale={service: 1}, options=("--no-recreate", "--no-deps"))


def test_nginx_is_away_for_seconds_and_nothing_is_lost(healed: Stack) -> None:
    before = containers(healed)
    with Checker(healed) as checker, pages(healed) as asking:
        clients = busy(checker)
        roll(healed, "nginx")
        over = time.monotonic()
        wait_until(lambda: all(page.live for page in sockets(clients)), NGINX_BACK, "all sockets back")
        go_on(checker)
    checker.verdict().check()
    refused = [sample.at for sample in asking.failures()]
    print(f"no front door for {refused[-1] - refused[0]:.1f} s")
    assert refused[-1] - refused[0] <= NGINX_AWAY
    asking.assert_clean(over)
    assert replaced(before, containers(healed)) == {"nginx"}
    assert {code for page in sockets(clients) for code in codes(page)} == {1006}
