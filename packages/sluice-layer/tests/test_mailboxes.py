"""The rules by which messages wait for their readers and give their capacity back. No server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from channels.exceptions import StopConsumer

from layer_lab.kit import until
from sluice_layer.mailboxes import Mailboxes


class Acks:
    """Counts acknowledgements: each lets RabbitMQ deliver one more message."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def run(
    scenario: Callable[[Mailboxes, list[str]], Coroutine[Any, Any, None]],
    *,
    capacity: int = 100,
    expiry: float = 60.0,
    abandoned_after: float = 60.0,
) -> None:
    """Run the scenario with mailboxes and the list of channels that they abandoned."""

    async def main() -> None:
        abandoned: list[str] = []

        def forget(channel: str) -> None:
            abandoned.append(channel)
            mailboxes.forget(channel)

        mailboxes = Mailboxes(
            capacity=capacity, expiry=expiry, abandoned_after=abandoned_after, on_abandoned=forget
        )
        try:
            await scenario(mailboxes, abandoned)
        finally:
            mailboxes.close()

    asyncio.run(main())


def test_a_message_is_acknowledged_when_it_is_read() -> None:
    async def scenario(mailboxes: Mailboxes, _: list[str]) -> None:
        ack = Acks()
        mailboxes.put_for_channel("a", {"type": "x"}, ack)
        assert (mailboxes.held, ack.count) == (1, 0)
        assert await mailboxes.get("a") == {"type": "x"}
        assert (mailboxes.held, ack.count) == (0, 1)

    run(scenario)


def test_a_message_to_a_group_is_acknowledged_once_when_its_last_reader_took_it() -> None:
    async def scenario(mailboxes: Mailboxes, _: list[str]) -> None:
        ack = Acks()
        assert mailboxes.join("all", "a") and mailboxes.join("all", "b")
        assert not mailboxes.join("all", "a")  # it is a member already
        mailboxes.put_for_group("all", {"type": "x"}, ack)
        mine = await mailboxes.get("a")
        mine["changed"] = True
        assert ack.count == 0
        assert await mailboxes.get("b") == {"type": "x"}  # each reader gets its own copy
        assert (mailboxes.held, ack.count) == (0, 1)

    run(scenario)


def test_a_message_to_a_group_without_members_is_acknowledged_at_once() -> None:
    async def scenario(mailboxes: Mailboxes, _: list[str]) -> None:
        ack = Acks()
        mailboxes.put_for_group("nobody", {"type": "x"}, ack)
        assert (mailboxes.held, ack.count) == (0, 1)

    run(scenario)


def test_a_channel_that_leaves_a_group_loses_only_that_groups_waiting_messages() -> None:
    async def scenario(mailboxes: Mailboxes, _: list[str]) -> None:
        ack = Acks()
        mailboxes.join("all", "a")
        mailboxes.put_for_group("all", {"type": "group"}, ack)
        mailboxes.put_for_channel("a", {"type": "own"}, ack)
        mailboxes.leave("all", "a")
        assert (ack.count, list(mailboxes.groups)) == (1, [])
        assert await mailboxes.get("a") == {"type": "own"}

    run(scenario)


def test_messages_that_wait_too_long_are_dropped() -> None:
    async def scenario(mailboxes: Mailboxes, _: list[str]) -> None:
        ack = Acks()
        mailboxes.put_for_channel("a", {"type": "x"}, ack)
        await until(lambda: ack.count == 1, "the expiry")
        assert (mailboxes.held, mailboxes.dropped) == (0, 1)

    run(scenario, expiry=0.1)


def test_at_full_capacity_a_member_that_does_not_read_loses_its_own_messages() -> None:
    async def scenario(mailboxes: Mailboxes, _: list[str]) -> None:
        dead, slow = Acks(), Acks()
        mailboxes.join("all", "dead")
        reading = asyncio.ensure_future(mailboxes.get("slow"))
        await asyncio.sleep(0)
        for _number in range(2):
            mailboxes.put_for_group("all", {"type": "x"}, dead)
        mailboxes.put_for_channel("slow", {"type": "x"}, slow)
        mailboxes.put_for_channel("slow", {"type": "x"}, slow)
        await reading

        async def keep_reading() -> None:
            while True:
                mailboxes.put_for_channel("slow", {"type": "x"}, slow)
                await mailboxes.get("slow")
                await asyncio.sleep(0.1)

        keeping = asyncio.ensure_future(keep_reading())
        await until(lambda: dead.count == 2, "the relief")
        keeping.cancel()
        await asyncio.wait({keeping})
        assert mailboxes.dropped == 2  # none of them from channels with a reader
        # An abandoned mailbox takes nothing until its reader returns.
        mailboxes.put_for_group("all", {"type": "late"}, dead)
        assert (dead.count, mailboxes.dropped) == (3, 3)
        back = asyncio.ensure_future(mailboxes.get("dead"))
        await asyncio.sleep(0)
        mailboxes.put_for_group("all", {"type": "new"}, dead)
        assert await asyncio.wait_for(back, 5) == {"type": "new"}

    run(scenario, capacity=3)


def test_a_channel_that_nobody_reads_any_more_is_forgotten() -> None:
    async def scenario(mailboxes: Mailboxes, abandoned: list[str]) -> None:
        ack = Acks()
        mailboxes.join("all", "a")
        mailboxes.put_for_group("all", {"type": "x"}, ack)
        await until(lambda: abandoned == ["a"], "giving the channel up")
        assert (ack.count, list(mailboxes.groups)) == (1, [])

    run(scenario, abandoned_after=0.1)


def test_forgetting_a_channel_removes_it_from_its_groups() -> None:
    async def scenario(mailboxes: Mailboxes, _: list[str]) -> None:
        ack = Acks()
        for group in ("one", "two"):
            mailboxes.join(group, "a")
        mailboxes.join("two", "b")
        mailboxes.put_for_channel("a", {"type": "x"}, ack)
        assert sorted(mailboxes.forget("a")) == ["one", "two"]
        assert (ack.count, list(mailboxes.groups)) == (1, ["two"])

    run(scenario)


def test_closing_ends_the_readers_and_later_ones() -> None:
    async def scenario(mailboxes: Mailboxes, _: list[str]) -> None:
        reading = asyncio.ensure_future(mailboxes.get("a"))
        await asyncio.sleep(0)
        mailboxes.close()
        with pytest.raises(StopConsumer):
            await reading
        with pytest.raises(StopConsumer):
            await mailboxes.get("a")
        ack = Acks()
        mailboxes.put_for_channel("a", {"type": "late"}, ack)
        assert ack.count == 1

    run(scenario)
