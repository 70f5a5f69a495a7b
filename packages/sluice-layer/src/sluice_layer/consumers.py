"""A mixin that cleans up after a consumer."""

from __future__ import annotations

from typing import Any


class TidyConsumer:
    """A mixin, to be the first base of a consumer. When the consumer ends, its channel leaves its groups.

    It also drops the channel's waiting messages. It is needed because Channels calls neither `disconnect()`
    nor `group_discard()` when a consumer raises or is cancelled. With other channel layers it does nothing.
    """

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return await super().__call__(*args, **kwargs)  # type: ignore[misc]
        finally:
            forget = getattr(getattr(self, "channel_layer", None), "forget_channel", None)
            channel = getattr(self, "channel_name", None)
            if forget is not None and channel is not None:
                forget(channel)
