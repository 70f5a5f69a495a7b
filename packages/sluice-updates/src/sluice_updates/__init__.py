"""Streams of updates that a Django site publishes in its transactions and its pages receive, none lost.

    from sluice_updates import publish

    with transaction.atomic():
        message.save()
        publish(user_stream(7), "new-message", {"message_id": message.pk})

README.md in this folder is the developer's guide.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .publishing import publish as publish

__all__ = ["publish"]


def __getattr__(name: str) -> Any:
    """Give `sluice_updates.publish` at its first use: its module needs Django's apps."""
    if name == "publish":
        from .publishing import publish

        return publish
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
