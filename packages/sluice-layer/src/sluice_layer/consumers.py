"""For consumers: leave nothing behind."""

from __future__ import annotations

from typing import Any


class TidyConsumer:
    """Mix into a consumer, first: however it ends, its channel leaves its groups and all that waits for it.

    Channels calls neither `disconnect()` nor `group_discard` when a consumer raises or is cancelled. With
    another layer than this package's it does nothing.
    """

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().__call__(*args, **kwargs)  # type: ignore[misc]
        finally:
            forget = getattr(getattr(self, "channel_layer", None), "forget_channel", None)
            channel = getattr(self, "channel_name", None)
            if forget is not None and channel is not None:
                forget(channel)
