"""A mixin for consumers that cleans up after them."""

from __future__ import annotations

from typing import Any


class TidyConsumer:
    """The first base of a consumer. However the consumer ends, its channel leaves its groups and is emptied.

    Channels calls neither `disconnect()` nor `group_discard()` when a consumer raises or is cancelled. The
    mixin does nothing with another channel layer than this package's.
    """

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().__call__(*args, **kwargs)  # type: ignore[misc]
        finally:
            forget = getattr(getattr(self, "channel_layer", None), "forget_channel", None)
            channel = getattr(self, "channel_name", None)
            if forget is not None and channel is not None:
                forget(channel)
