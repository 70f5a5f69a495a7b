"""What counts as one address, and the limit for the requests of each."""

from __future__ import annotations

import pytest

from sluice_updates import addresses
from sluice_updates.addresses import Throttle, client, group, of


@pytest.mark.parametrize(
    ("forwarded", "peer", "expected"),
    [
        ([], "192.0.2.1", "192.0.2.1"),
        (["192.0.2.7"], "127.0.0.1", "192.0.2.7"),
        (["203.0.113.9, 192.0.2.7"], "127.0.0.1", "192.0.2.7"),  # a client may write the first ones itself
        (["203.0.113.9", "192.0.2.7"], "127.0.0.1", "192.0.2.7"),
        ([], "", ""),
    ],
)
def test_the_last_address_that_the_proxy_names_counts(forwarded: list[str], peer: str, expected: str) -> None:
    assert client(forwarded, peer) == expected


def test_a_request_without_any_address_has_none() -> None:
    assert of({"headers": []}) == of({"headers": [], "client": None}) == ""
    assert of({"headers": [(b"x-real-ip", b"192.0.2.7")], "client": ("127.0.0.1", 1)}) == "192.0.2.7"
    assert of({"headers": [(b"x-forwarded-for", b"192.0.2.7")]}) == "192.0.2.7"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix:", ""),
        ("", ""),
        ("192.0.2.1:8000", ""),
    ],
)
def test_an_ipv6_client_has_a_whole_network(address: str, expected: str) -> None:
    assert group(address) == expected


def test_a_minute_has_so_many_requests_of_an_address() -> None:
    now = 1000.0
    throttle = Throttle(lambda: now)
    assert [throttle.wait("a", 2) for _ in range(3)] == [0, 0, 60]
    assert throttle.wait("b", 2) == 0
    now += 59.5
    assert throttle.wait("a", 2) == 1
    now += 0.5
    assert [throttle.wait("a", 2) for _ in range(3)] == [0, 0, 60]


def test_its_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "ADDRESSES", 10)
    throttle = Throttle()
    for number in range(1000):
        throttle.wait(str(number), 5)
    assert len(throttle._counts) == 10
