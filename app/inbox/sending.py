"""Sending a message: a row in the inbox and an update in the recipient's stream, both or neither."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.urls import get_script_prefix

from sluice_updates import publish
from sluice_updates.streams import user_stream

from .models import Message

EVENT = "new-message"


def send(
    recipient: Any, title: str, text: str = "", *, sender: Any = None, link: str = "", key: str | None = None
) -> Message:
    """Put a message into the inbox of `recipient`, and push it, when the current transaction commits.

    `link` is a URL of this site, as reverse() gives it. `key` makes a repeated push one, see updates.publish.
    """
    with transaction.atomic():
        message = Message.objects.create(
            recipient=recipient,
            sender=sender,
            title=title,
            text=text,
            link=link.removeprefix(get_script_prefix()),
        )
        payload = {"message_id": message.pk, "message_title": message.title}
        publish(user_stream(recipient.pk), EVENT, payload, key=key)
    return message
