"""Updates that a Django site publishes in its transactions, and that its pages receive exactly once.

    from sluice_updates import publish

    with transaction.atomic():
        message.save()
        publish(user_stream(7), "new-message", {"message_id": message.pk})

The package's README is the developer's guide.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .publishing import publish as publish

__all__ = ["publish"]


def __getattr__(name: str) -> Any:
    """Import `publish` at its first use: its module needs Django's apps."""
    if name == "publish":
        from .publishing import publish

        return publish
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
