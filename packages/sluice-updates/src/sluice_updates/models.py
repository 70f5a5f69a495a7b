"""The tables: streams, their updates, and the database's identity.

PROTOCOL.md explains what the columns of the first two mean for clients.
"""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models.functions import Now

from .streams import MAX_NAME_LENGTH

EVENT_LENGTH = 100
KEY_LENGTH = 200
TAG_LENGTH = 16


class Stream(models.Model):
    """A stream that was published to. Its row is never deleted: it keeps the tags of head and floor.

    The offsets after `floor` and up to `head` are all in the table of updates. Before the first update both
    are 0, with the tag "0".
    """

    name = models.CharField(max_length=MAX_NAME_LENGTH, primary_key=True)
    head = models.BigIntegerField(default=0)
    head_tag = models.CharField(max_length=TAG_LENGTH, default="0")
    floor = models.BigIntegerField(default=0)
    floor_tag = models.CharField(max_length=TAG_LENGTH, default="0")

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Update(models.Model):
    """A published update. Written by publish() only, and never changed.

    On PostgreSQL `offset` and `tag` are null until the transaction commits: a deferred trigger allots them
    (migrations/_trigger.py). There is one more column, `xid` (xid8), the id of the writing transaction, by
    which commits.poll finds what committed. `created` is when it was published, not when it was committed.
    """

    # No foreign key: the trigger makes the row of the stream at COMMIT, and a key would lock it before.
    stream = models.CharField(max_length=MAX_NAME_LENGTH)
    offset = models.BigIntegerField(null=True)
    tag = models.CharField(max_length=TAG_LENGTH, null=True)
    event = models.CharField(max_length=EVENT_LENGTH)
    payload = models.TextField()
    key = models.CharField(max_length=KEY_LENGTH, null=True)
    created = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["stream", "offset"]
        # Partial: a row without an offset, or without a key, needs no index entry.
        constraints = [
            models.UniqueConstraint(
                fields=["stream", "offset"],
                condition=models.Q(offset__isnull=False),
                name="sluice_updates_update_position",
            ),
            models.UniqueConstraint(
                fields=["key"],
                condition=models.Q(key__isnull=False),
                name="sluice_updates_update_key",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.stream}/{self.offset}-{self.tag}"


class Database(models.Model):
    """The identity of this database, in its only row. `identity` explains its use."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    identity = models.UUIDField(default=uuid.uuid4)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(id=1), name="sluice_updates_database_only"),
        ]

    def __str__(self) -> str:
        return str(self.identity)
