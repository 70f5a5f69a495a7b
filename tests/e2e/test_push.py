"""The first push: an HTTP request's result arrives on an open WebSocket, both through nginx."""

from __future__ import annotations

import numpy as np
import pytest

from harness import raw
from harness.checker import Checker
from harness.client.ledger import Arrived
from harness.client.page import TRANSPORTS, Page
from harness.stack import Stack
from harness.volume import pages, sample, voxels
from harness.waiting import wait_until


@pytest.mark.parametrize(
    "corner", [(0, 0, 0), (40, 50, 30), (-16, -16, -16)], ids=["first", "middle", "last"]
)
def test_a_crop_is_pushed_to_its_owner_and_holds_exactly_its_voxels(
    site: Stack, corner: tuple[int, int, int]
) -> None:
    alice = site.browser("alice")
    volume = sample(site)
    box = volume.box(*(place % size for place, size in zip(corner, volume.size, strict=True)))
    with Checker(site) as checker:
        page = checker.client("alice")
        crop = alice.order_crop(volume.id, box)
        update = arrival(page, 30)
    assert (update.event, set(update.payload)) == ("new-message", {"message_id", "message_title"})
    assert alice.get(f"/crops/{crop['crop_id']}/").json()["state"] == "done"
    np.testing.assert_array_equal(
        pages(alice, f"/crops/{crop['crop_id']}/download/"), voxels(site, volume.id, box)
    )


def test_a_crop_is_only_its_owners(site: Stack) -> None:
    alice, bob = site.browser("alice"), site.browser("bob")
    crop = alice.order_crop(sample(site).id, sample(site).box(0, 0, 0))["crop_id"]
    wait_until(lambda: alice.get(f"/crops/{crop}/").json()["state"] == "done", 30, "the crop")
    assert {bob.get(f"/crops/{crop}/").status_code, bob.get(f"/crops/{crop}/download/").status_code} <= {
        403,
        404,
    }
    assert raw.get(site.port, f"{site.prefix}/protected-media/").status == 404


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_message_reaches_its_addressee_and_nobody_else(site: Stack, transport: str) -> None:
    alice = site.browser("alice")
    with Checker(site) as checker:
        bob, carol = checker.client("bob", transport), checker.client("carol", transport)
        own = checker.client("alice", transport)
        message = alice.send_message("bob", "for bob only")
        assert arrival(bob).payload == {"message_id": message, "message_title": "for bob only"}
        alice.send_message(
            "carol", "now carol"
        )  # the first update that she receives is the first one for her
        assert arrival(carol).payload["message_title"] == "now carol"
        assert not own.ledger.arrived and len(bob.ledger.arrived) == 1
    checker.close()


def test_an_anonymous_client_is_told_to_sign_in(site: Stack) -> None:
    with Checker(site) as checker:
        page = checker.anonymous()
        wait_until(lambda: page.stopped_by, 5, "the close")
    checker.close()
    assert page.stopped_by == 4001 and not page.ledger.arrived


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://localhost:1"])
def test_a_foreign_or_missing_origin_is_refused_before_the_upgrade(site: Stack, origin: str) -> None:
    headers = {"Origin": origin} if origin else {}
    answer = raw.get(site.port, f"{site.prefix}/channels/updates/", headers=raw.UPGRADE | headers)
    assert (answer.status, answer.backend) == (403, "asgi")


def test_a_client_without_our_subprotocol_gets_update_frames_only(site: Stack) -> None:
    with Checker(site) as checker:
        frames = checker.bare_frames("bob")
        alice = site.browser("alice")

        def is_heard() -> bool:
            """Send until the client receives a frame. Nothing tells when such a client begins to receive."""
            alice.send_message("bob", "as CATMAID reads it")
            return bool(frames)

        wait_until(is_heard, 10, "a frame", every=0.25)
    checker.close()
    assert {frame["event"] for frame in frames} == {"new-message"}
    assert {frame["payload"]["message_title"] for frame in frames} == {"as CATMAID reads it"}


def test_every_client_gets_every_message_on_all_transports(site: Stack) -> None:
    with Checker(site) as checker:
        checker.clients("alice", "bob")
        checker.writer("alice", to=["bob", "alice"], rate=20)
        wait_until(lambda: checker.arrived() >= 200, 60, "200 arrivals")
    checker.verdict().check()


def test_two_replicas_of_daphne_both_deliver(fresh: Stack) -> None:
    fresh.up("asgi", scale={"asgi": 2}, options=("--no-recreate", "--no-deps"))
    with Checker(fresh) as checker:
        checker.clients("bob", transports=["websocket"] * 8)
        wait_until(lambda: all(_sockets(fresh, index) for index in range(2)), 10, "clients on both replicas")
        checker.writer("alice", to="bob", rate=10)
        wait_until(lambda: checker.arrived() >= 8 * 20, 30, "20 messages at 8 clients")
    checker.verdict().check()


def arrival(page: Page, deadline: float = 5) -> Arrived:
    """The first update that the client received."""
    wait_until(lambda: page.ledger.arrived, deadline, f"an update at {page.name}", every=0.01)
    return page.ledger.arrived[0]


def _sockets(stack: Stack, index: int) -> int:
    """Established connections to port 8001 (1F41) of a replica."""
    table = stack.service("asgi")[index].exec("cat", "/proc/net/tcp").output
    return sum(
        fields[1].endswith(":1F41") and fields[3] == "01" for fields in map(str.split, table.splitlines()[1:])
    )
