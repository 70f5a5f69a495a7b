"""`manage.py check` reports invalid settings of this app."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connections
from django.test import RequestFactory, override_settings
from django.urls import clear_script_prefix, include, path, re_path, set_script_prefix
from django.views.generic import View

from sluice_updates.admin import StreamAdmin, UpdateAdmin
from sluice_updates.checks import configuration as checks
from sluice_updates.models import Stream, Update
from updates_lab.support import RouteTo


def ids(found: list[Any]) -> list[str]:
    return [message.id for message in found]


@pytest.fixture
def mysql(tmp_path: Path) -> Iterator[str]:
    """The alias of a database that updates can't be stored in, chosen by the router."""
    alias = "updates_mysql"
    connections.databases[alias] = connections.databases["default"] | {
        "ENGINE": "updates_lab.otherdb",
        "NAME": str(tmp_path / "other"),
    }
    with override_settings(DATABASE_ROUTERS=[RouteTo(alias)]):
        yield alias
    connections[alias].close()
    del connections.databases[alias]


def test_another_database_is_refused_and_nothing_is_written(mysql: str, django_db_blocker: Any) -> None:
    (found,) = checks.check_database()
    assert (found.id, found.msg) == ("sluice_updates.E001", "updates can't be stored in mysql.")
    with django_db_blocker.unblock():
        with pytest.raises(SystemCheckError, match="updates can't be stored in mysql"):
            call_command("migrate", database=mysql, verbosity=0, skip_checks=False)
        assert connections[mysql].introspection.table_names() == []


def test_correct_settings_have_no_findings(database: str) -> None:
    assert checks.check_database() + checks.check_publisher() + checks.check_rights() == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://publisher:x@rabbitmq:5672/asgi", []),
        ("amqps://publisher@rabbitmq/asgi", []),
        ("redis://rabbitmq/asgi", ["sluice_updates.E002"]),
        ("amqps://rabbitmq:none/asgi", ["sluice_updates.E002"]),
        ("rabbitmq:5672", ["sluice_updates.E002"]),
        ("amqp:///asgi", ["sluice_updates.E002"]),
    ],
)
def test_the_publishers_url(settings: Any, url: str, expected: list[str]) -> None:
    settings.SLUICE_UPDATES_PUBLISHER_URL = url
    assert ids(checks.check_publisher()) == expected


def test_the_publishers_password(settings: Any, tmp_path: Path) -> None:
    """A missing password is a warning, because nothing depends on wake-ups."""
    settings.SLUICE_UPDATES_PUBLISHER_URL = "amqp://publisher@rabbitmq:5672/asgi"
    file = tmp_path / "password"
    settings.SLUICE_UPDATES_PUBLISHER_PASSWORD_FILE = str(file)
    (found,) = checks.check_publisher()
    assert (found.id, found.is_serious()) == ("sluice_updates.W012", False)
    assert f"No such file or directory: '{file}'" in found.msg
    file.write_bytes(b"\xff")
    assert ids(checks.check_publisher()) == ["sluice_updates.W012"]
    file.write_text("x\n")
    assert checks.check_publisher() == []


def test_the_urls_for_polling(settings: Any) -> None:
    polling = path("push/", include("sluice_updates.urls"))
    everything = re_path(r"^(?:[\w-]+/)*$", View.as_view(), name="serve")
    found = {}
    for name, urls in {
        "included": (polling,),
        "first": (polling, everything),
        "missing": (everything,),
        "behind another": (everything, polling),
        "namespaced": (path("here/", include("sluice_updates.urls", namespace="push")),),
    }.items():
        settings.ROOT_URLCONF = urls
        found[name] = ids(checks.check_polling())
    assert found == {
        "included": [],
        "first": [],
        "missing": ["sluice_updates.W014"],
        "behind another": ["sluice_updates.W015"],
        "namespaced": [],
    }
    settings.ROOT_URLCONF = (everything, polling)
    (warning,) = checks.check_polling()
    assert warning.msg.startswith("/push/ reaches the view django.views.generic.base.View of another pattern")
    settings.FORCE_SCRIPT_NAME = "/notes"
    set_script_prefix("/notes/")
    try:
        settings.ROOT_URLCONF = (polling, everything)
        assert checks.check_polling() == []
    finally:
        clear_script_prefix()


@pytest.mark.parametrize(
    "dotted", ["sluice_updates.rights.nothing", "nowhere.at_all", "sluice_updates.streams.ALL", ""]
)
def test_the_rule_must_be_importable(settings: Any, dotted: str) -> None:
    settings.SLUICE_UPDATES_MAY_READ = dotted
    assert ids(checks.check_rights()) == ["sluice_updates.E003"]


def test_the_admin_site_is_read_only() -> None:
    for model, shown in ((Stream, StreamAdmin), (Update, UpdateAdmin)):
        page = shown(model, admin.site)
        assert page.check() == []
        request = RequestFactory().get("/")
        request.user = User(is_superuser=True)
        assert page.has_view_permission(request)
        assert not page.has_add_permission(request)
        assert not page.has_change_permission(request) and not page.has_delete_permission(request)


def test_sqlite_without_immediate_transactions(database_on: Any) -> None:
    alias = database_on("sqlite")
    options = connections[alias].settings_dict["OPTIONS"]
    mode = options.pop("transaction_mode")
    try:
        assert ids(checks.check_database()) == ["sluice_updates.W001"]
    finally:
        options["transaction_mode"] = mode


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("UPDATES_MAX_AGE_DAYS", "SLUICE_UPDATES_MAX_AGE_DAYS"),
        ("HEALTH_ALLOW", "SLUICE_UPDATES_HEALTH_ALLOW"),
    ],
)
def test_an_old_name_of_a_setting_is_reported(settings: Any, old: str, new: str) -> None:
    if hasattr(settings, new):
        delattr(settings, new)
    assert checks.check_names() == []
    setattr(settings, old, 3)
    (found,) = checks.check_names()
    assert found.id == "sluice_updates.W013" and old in found.msg and new in (found.hint or "")
    setattr(settings, new, 3)
    assert checks.check_names() == []


def public_news(user: Any, stream: str) -> bool:
    return stream == "news"


def members_only(user: Any, stream: str) -> bool:
    return User.objects.filter(pk=user.pk.hex).exists()


@pytest.mark.parametrize(
    ("value", "rule", "expected"),
    [
        (False, None, []),
        (True, "public_news", []),
        (True, None, ["sluice_updates.W041"]),
        ("yes", "public_news", ["sluice_updates.E041"]),
        ("False", "public_news", ["sluice_updates.E041"]),
    ],
)
def test_anonymous_readers_need_a_rule(
    settings: Any, value: Any, rule: str | None, expected: list[str]
) -> None:
    settings.SLUICE_UPDATES_ANONYMOUS = value
    if rule:
        settings.SLUICE_UPDATES_MAY_READ = f"{__name__}.{rule}"
    assert ids(checks.check_anonymous()) == expected


@pytest.mark.parametrize(
    ("value", "rule", "expected"),
    [
        (True, "public_news", []),
        (True, "members_only", ["sluice_updates.E042"]),
        (False, "members_only", []),
        (True, "nothing", []),  # check_rights reports it
    ],
)
def test_the_rule_is_tried_with_an_anonymous_reader(
    settings: Any, value: bool, rule: str, expected: list[str]
) -> None:
    settings.SLUICE_UPDATES_ANONYMOUS = value
    settings.SLUICE_UPDATES_MAY_READ = f"{__name__}.{rule}"
    assert ids(checks.check_anonymous_rule()) == expected
