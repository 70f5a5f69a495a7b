"""Helpers for a project's own tests of what it publishes. They work in TestCase and in TransactionTestCase.

    with captured_updates() as updates:
        self.client.post("/messages/", {"to": bob.pk, "text": "Hello"})
    assert_published(user_stream(bob.pk), "new-message", {"text": "Hello"}, among=updates)

They read the table of updates, so they see what the database would commit, and no broker or server is needed.
"""

from .capture import Published, assert_not_published, assert_published, captured_updates
from .client import FakeClient

__all__ = ["FakeClient", "Published", "assert_not_published", "assert_published", "captured_updates"]
