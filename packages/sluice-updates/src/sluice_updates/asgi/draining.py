"""Closing many connections: spread over a time, so that their clients do not all reconnect at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from .. import limits

logger = logging.getLogger(__name__)

DRAIN_SECONDS: Final = 8.0  # the most over which the closes with 1012 are spread
STEP_SECONDS: Final = 0.02


async def end_all(ends: Sequence[Callable[[], object]], *, began: float, at_most: float) -> None:
    """Call each of these, which closes a connection, over some seconds since `began`, `at_most` so many.

    There are at most as many calls a second as the remaining processes can take as reconnects.
    """
    spread = max(limits.CLOSES_SECONDS, len(ends) / limits.RECONNECTS_PER_SECOND)
    seconds = min(at_most, spread)
    for number, end in enumerate(ends):
        while time.monotonic() - began < number * seconds / len(ends):
            await asyncio.sleep(STEP_SECONDS)
        try:
            end()
        except Exception:  # the others must be closed all the same
            logger.exception("a connection could not be closed with 1012")
