"""Sending a message: creates a row, and an update in the recipient's stream, in one transaction."""

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
    """Create a message in the inbox of `recipient`. The current transaction's commit pushes it.

    `link`: a URL of this site, from reverse(). `key`: of several updates with one key, only the first is
    pushed (sluice_updates.publish).
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
