"""Changes to a user's own messages: each is published, so that all their pages follow."""

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
    """How many messages the person has not read."""
    return Message.objects.filter(recipient=user, read=False).count()


def set_read(message: Message, read: bool) -> None:
    """Mark the message as read, or as unread. Nothing is published if it is so already."""
    with transaction.atomic():
        if Message.objects.filter(pk=message.pk, read=not read).update(read=read):
            publish(user_stream(message.recipient_id), READ, {"message_id": message.pk, "read": read})
    message.read = read


def read_all(user: Any) -> int:
    """Mark all messages that there are as read; return the newest one's id, 0 if there is none."""
    with transaction.atomic():
        newest = Message.objects.filter(recipient=user).first()
        if newest is None:
            return 0
        # No later one: the user had not seen it.
        if Message.objects.filter(recipient=user, pk__lte=newest.pk, read=False).update(read=True):
            publish(user_stream(user.pk), ALL_READ, {"up_to": newest.pk})
    return newest.pk


def delete(message: Message) -> None:
    """Delete the message; if it is deleted already, nothing is published."""
    message_id, recipient_id = message.pk, message.recipient_id
    with transaction.atomic():
        deleted, _ = Message.objects.filter(pk=message_id).delete()
        if deleted:
            publish(user_stream(recipient_id), DELETED, {"message_id": message_id})
