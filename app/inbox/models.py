"""The messages in inboxes."""

from __future__ import annotations

from typing import ClassVar, Final

from django.conf import settings
from django.db import models
from django.db.models import Q

MAX_TITLE: Final = 200
MAX_TEXT: Final = 10_000


class Message(models.Model):
    """A message in a user's inbox. Title and text are plain text."""

    recipient = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="messages")
    # Null: the site itself.
    sender = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    title = models.CharField(max_length=MAX_TITLE)
    text = models.TextField(max_length=MAX_TEXT, blank=True)
    # The page that the message is about: its path without the site's root, so that the prefix may change.
    link = models.CharField(max_length=200, blank=True)
    read = models.BooleanField(default=False)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-id"]
        indexes: ClassVar = [
            models.Index(fields=["recipient", "-id"], name="inbox_message_recipient"),
            # For the number of unread messages on every page.
            models.Index(fields=["recipient"], condition=Q(read=False), name="inbox_message_unread"),
        ]

    def __str__(self) -> str:
        return self.title
