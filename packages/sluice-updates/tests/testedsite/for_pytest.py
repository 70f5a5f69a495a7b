"""The project's tests, for pytest-django, with the package's fixtures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from sluice_updates import publish
from sluice_updates.streams import user_stream
from sluice_updates.testing import FakeClient, Published, assert_published

Opens = Callable[..., FakeClient]


def receives(user: Any, updates_client: Opens, published: Callable[[], list[Published]]) -> None:
    assert published() == []
    page = updates_client(user)
    publish(user_stream(user.pk), "e", {"n": 1})
    assert [frame["payload"] for frame in page.receive()] == [{"n": 1}]
    assert published() == [Published(user_stream(user.pk), "e", {"n": 1})]
    assert_published(user_stream(user.pk), "e", {"n": 1}, count=1)


def test_in_a_transaction(updates_client: Opens, published_updates: Callable[[], list[Published]]) -> None:
    receives(User.objects.create_user("bob"), updates_client, published_updates)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("time", [1, 2])
def test_with_commits(
    updates_client: Opens, published_updates: Callable[[], list[Published]], time: int
) -> None:
    receives(User.objects.create_user("bob"), updates_client, published_updates)


def test_with_commits_by_the_fixture(
    transactional_db: None, updates_client: Opens, published_updates: Callable[[], list[Published]]
) -> None:
    receives(User.objects.create_user("bob"), updates_client, published_updates)
