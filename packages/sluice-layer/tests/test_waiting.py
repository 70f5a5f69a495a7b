"""Time limits on waiting, and the mailboxes' queue. No server."""

from __future__ import annotations

import asyncio

import pytest

from sluice_layer import LayerUnavailable
from sluice_layer.waiting import Box, within


def why() -> str:
    return "no answer"


def test_a_result_in_time() -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    assert asyncio.run(within(5, answer(), why)) == 42


def test_an_exception_in_time_is_passed_on() -> None:
    async def fail() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        asyncio.run(within(5, fail(), why))


def test_an_operation_that_ignores_its_cancellation_is_not_waited_for() -> None:
    """asyncio.wait_for would wait for it without a limit."""

    async def scenario() -> None:
        go_on = asyncio.Event()
        cancelled = asyncio.Event()

        async def stubborn() -> None:
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                cancelled.set()
                await go_on.wait()

        with pytest.raises(LayerUnavailable, match="no answer"):
            await within(0.01, stubborn(), why)
        await asyncio.wait_for(cancelled.wait(), 5)
        go_on.set()

    asyncio.run(scenario())


def test_a_cancelled_caller_cancels_the_operation() -> None:
    async def scenario() -> None:
        cancelled = asyncio.Event()

        async def operation() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        caller = asyncio.ensure_future(within(60, operation(), why))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # the caller has started the operation
        caller.cancel()
        await asyncio.wait_for(cancelled.wait(), 5)
        assert (await asyncio.gather(caller, return_exceptions=True))[0].__class__ is asyncio.CancelledError

    asyncio.run(scenario())


def test_items_come_in_their_order() -> None:
    async def scenario() -> list[int]:
        box: Box[int] = Box()
        for item in range(3):
            box.put(item)
        return [await box.get() for _ in range(3)]

    assert asyncio.run(scenario()) == [0, 1, 2]


def test_a_cancelled_reader_loses_nothing() -> None:
    """A reader may also be cancelled after it was woken and before it ran. Another reader then gets the
    item.
    """

    async def scenario() -> None:
        box: Box[str] = Box()
        first, second = asyncio.ensure_future(box.get()), asyncio.ensure_future(box.get())
        await asyncio.sleep(0)
        assert box.readers == 2
        box.put("item")  # this wakes the first reader
        first.cancel()
        assert await asyncio.wait_for(second, 5) == "item"
        assert first.cancelled() and box.readers == 0

    asyncio.run(scenario())


def test_closing_ends_all_readers() -> None:
    async def scenario() -> None:
        box: Box[str] = Box()
        readers = [asyncio.ensure_future(box.get()) for _ in range(3)]
        await asyncio.sleep(0)
        box.close(lambda: EOFError("closed"))
        ends = await asyncio.gather(*readers, return_exceptions=True)
        assert [type(end) for end in ends] == [EOFError] * 3

    asyncio.run(scenario())
