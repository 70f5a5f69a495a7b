"""Who may read which stream, and how a page learns of a change of rights."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction

from sluice_updates import history, rights
from sluice_updates.positions import ZERO

STREAMS = ["user:7", "user:8", "user:07", "user:7-x", "all", "project:9", "anything"]


def test_the_default_rule() -> None:
    assert rights.allowed(User(pk=7), STREAMS) == {"user:7", "all"}


@pytest.mark.parametrize("user", [AnonymousUser(), User(pk=7, is_active=False)])
def test_without_an_account_nothing_may_be_read(user: Any, settings: Any) -> None:
    settings.SLUICE_UPDATES_MAY_READ = f"{__name__}.everybody"
    assert rights.allowed(user, STREAMS) == set()


def test_the_default_rule_gives_anonymous_readers_nothing(settings: Any) -> None:
    settings.SLUICE_UPDATES_ANONYMOUS = True
    assert rights.allowed(AnonymousUser(), [*STREAMS, "user:None"]) == set()
    assert not any(rights.default_may_read(AnonymousUser(), stream) for stream in [*STREAMS, "user:None"])


def test_a_projects_own_rule_decides_for_anonymous_readers_but_never_about_a_person(settings: Any) -> None:
    settings.SLUICE_UPDATES_MAY_READ = f"{__name__}.everybody"
    settings.SLUICE_UPDATES_ANONYMOUS = True
    assert rights.allowed(AnonymousUser(), STREAMS) == {"all", "project:9", "anything"}
    assert rights.allowed(User(pk=7, is_active=False), STREAMS) == set()
    assert rights.allowed_anonymously(["all", "project:9"], {}) == {"all", "project:9"}
    assert rights.allowed_anonymously(["all", "user:7"], {}) == set()


@pytest.mark.parametrize("value", ["no", "False", "", 1, None])
def test_nothing_but_true_lets_anonymous_readers_in(settings: Any, value: Any) -> None:
    settings.SLUICE_UPDATES_MAY_READ = f"{__name__}.everybody"
    settings.SLUICE_UPDATES_ANONYMOUS = value
    assert rights.allowed(AnonymousUser(), STREAMS) == set()
    assert rights.allowed_anonymously(["all"], {}) == set()


def test_the_rule_is_asked_once_about_a_stream_for_all_anonymous_readers(settings: Any) -> None:
    settings.SLUICE_UPDATES_MAY_READ = f"{__name__}.counted"
    settings.SLUICE_UPDATES_ANONYMOUS = True
    asked.clear()
    decided: dict[str, bool] = {}
    for _ in range(3):
        assert rights.allowed_anonymously(["all", "project:9"], decided) == {"all"}
    assert sorted(asked) == ["all", "project:9"]


asked: list[str] = []


def counted(user: Any, stream: str) -> bool:
    asked.append(stream)
    return stream == "all"


def everybody(user: Any, stream: str) -> bool:
    return True


def test_a_projects_own_rule(settings: Any) -> None:
    settings.SLUICE_UPDATES_MAY_READ = f"{__name__}.everybody"
    assert rights.allowed(User(pk=7), STREAMS) == set(STREAMS)


def test_a_change_goes_with_its_transaction(database: str) -> None:
    with transaction.atomic(using=database):
        rights.rights_changed(7, 8)
        transaction.set_rollback(True, using=database)
    assert history.read({"user:7": ZERO}).updates == []
    rights.rights_changed(7, 8)
    events = [
        (update.stream, update.event) for update in history.read({"user:7": ZERO, "user:8": ZERO}).updates
    ]
    assert events == [("user:7", "streams-changed"), ("user:8", "streams-changed")]
