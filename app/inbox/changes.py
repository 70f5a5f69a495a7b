"""Changes to a user's messages. Each is published, so that all pages of the user show it."""

from __future__ import annotations

from typing import Any, Final

from django.db import transaction

from sluice_updates import publish
from sluice_updates.streams import user_stream

from .models import Message

READ: Final = "message-read"
ALL_READ: Final = "messages-read"
DELETED: Final = "message-deleted"


def unread_count(user: Any) -> int:
    """How many messages the user has not read."""
    return Message.objects.filter(recipient=user, read=False).count()


def set_read(message: Message, read: bool) -> None:
    """Mark the message as read or as unread. Publishes nothing if it is already."""
    with transaction.atomic():
        if Message.objects.filter(pk=message.pk, read=not read).update(read=read):
            publish(user_stream(message.recipient_id), READ, {"message_id": message.pk, "read": read})
    message.read = read


def read_all(user: Any) -> int:
    """Mark all the user's messages as read. Returns the id of the newest one, or 0 if there is none."""
    with transaction.atomic():
        newest = Message.objects.filter(recipient=user).first()
        if newest is None:
            return 0
        # Not those that arrive meanwhile: the user has not seen them.
        if Message.objects.filter(recipient=user, pk__lte=newest.pk, read=False).update(read=True):
            publish(user_stream(user.pk), ALL_READ, {"up_to": newest.pk})
    return newest.pk


def delete(message: Message) -> None:
    """Delete the message. Publishes nothing if it is deleted already."""
    message_id, recipient_id = message.pk, message.recipient_id
    with transaction.atomic():
        deleted, _ = Message.objects.filter(pk=message_id).delete()
        if deleted:
            publish(user_stream(recipient_id), DELETED, {"message_id": message_id})
