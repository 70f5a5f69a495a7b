"""`manage.py check` reports settings that contradict each other."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from django.core import checks as django_checks
from django.core.management import call_command

from harness.servers import RabbitMQ
from sluice_updates.checks import broker as checks_broker
from sluice_updates.checks import consistency as checks_site


def ids(found: list[Any]) -> list[str]:
    assert all(str(message.msg).endswith(".") for message in found)
    return [message.id for message in found]


class WithoutGroups:
    extensions = ["flush"]


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ({}, ["sluice_updates.W003"]),
        ({"other": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}, ["sluice_updates.W003"]),
        ({"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}, []),
        ({"default": {"BACKEND": "sluice_layer.RabbitmqChannelLayer"}}, []),
        ({"default": {"BACKEND": "channels_rabbitmq.core.RabbitmqChannelLayer"}}, ["sluice_updates.W004"]),
        ({"default": {"BACKEND": "nowhere.Layer"}}, ["sluice_updates.E004"]),
        ({"default": {}}, ["sluice_updates.E004"]),
        ({"default": {"BACKEND": f"{__name__}.WithoutGroups"}}, ["sluice_updates.E005"]),
    ],
    ids=lambda value: str(value)[:60],
)
def test_the_layer(settings: Any, layers: Any, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    imported = checks_site.import_string
    monkeypatch.setattr(
        checks_site,
        "import_string",
        lambda path: WithoutGroups if path.endswith("WithoutGroups") else imported(path),
    )
    settings.CHANNEL_LAYERS = layers
    settings.SLUICE_UPDATES_NOTIFY = False
    assert ids(checks_site.check_layer()) == expected


@pytest.mark.parametrize("notify", [None, True])
def test_no_layer_is_needed_where_the_database_wakes_the_servers(settings: Any, notify: bool | None) -> None:
    settings.CHANNEL_LAYERS = {}
    settings.SLUICE_UPDATES_NOTIFY = notify
    assert ids(checks_site.check_layer()) == []


@pytest.mark.parametrize(
    ("published", "heard", "expected"),
    [
        ("amqp://p@rabbitmq/asgi", "amqp://a@rabbitmq:5672/asgi", []),
        ("amqp://p@rabbitmq/celery", "amqp://a@rabbitmq/asgi", ["sluice_updates.E006"]),
        ("amqp://p@rabbitmq/", "amqp://a@rabbitmq/%2F", []),
        ("", "amqp://a@rabbitmq/asgi", []),
        ("amqp://p@rabbitmq/asgi", "", []),
    ],
)
def test_one_vhost_for_both(settings: Any, published: str, heard: str, expected: list[str]) -> None:
    settings.SLUICE_UPDATES_PUBLISHER_URL = published
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "x", "CONFIG": {"host": heard} if heard else {}}}
    assert ids(checks_site.check_vhosts()) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"SLUICE_UPDATES_SITE_URL": "http://other.example"}, ["sluice_updates.E007"]),
        ({"SLUICE_UPDATES_SITE_URL": "http://site.example", "ALLOWED_HOSTS": [".example"]}, []),
        ({"SESSION_COOKIE_SECURE": True}, ["sluice_updates.E008"]),
        (
            {"SLUICE_UPDATES_SITE_URL": "https://site.example", "SESSION_COOKIE_SECURE": True},
            ["sluice_updates.W005"],
        ),
        ({"ALLOWED_HOSTS": ["*"]}, ["sluice_updates.W006"]),
        ({"ALLOWED_HOSTS": ["*"], "DEBUG": True}, []),
        ({"USE_X_FORWARDED_HOST": True}, ["sluice_updates.W007"]),
    ],
    ids=str,
)
def test_hosts_and_origins(settings: Any, change: dict[str, Any], expected: list[str]) -> None:
    settings.SLUICE_UPDATES_SITE_URL = "http://site.example"
    settings.ALLOWED_HOSTS = ["site.example"]
    settings.CSRF_TRUSTED_ORIGINS = ["http://site.example"]
    for name, value in change.items():
        setattr(settings, name, value)
    assert ids(checks_site.check_hosts()) == expected


@pytest.mark.parametrize(
    ("apps", "expected"),
    [
        (["django.contrib.auth", "django.contrib.contenttypes", "sluice_updates"], ["sluice_updates.E009"]),
        (["sluice_updates.sessions", "sluice_updates"], ["sluice_updates.E010", "sluice_updates.E010"]),
    ],
)
def test_apps_that_are_missing(settings: Any, apps: list[str], expected: list[str]) -> None:
    settings.INSTALLED_APPS = apps
    assert ids(checks_site.check_apps()) == expected


def test_a_layer_is_checked_although_channels_is_not_installed(settings: Any) -> None:
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "channels"]
    settings.CHANNEL_LAYERS = {}
    assert checks_site.check_layer() == []
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "nowhere.Layer"}}
    assert ids(checks_site.check_layer()) == ["sluice_updates.E004"]


def test_the_order_of_apps(settings: Any) -> None:
    others = [name for name in settings.INSTALLED_APPS if name != "daphne"]
    settings.INSTALLED_APPS = [*others, "daphne"]
    assert ids(checks_site.check_apps()) == ["sluice_updates.W008"]
    settings.INSTALLED_APPS = ["daphne", *others]
    assert ids(checks_site.check_apps()) == []


# ---- the broker


def test_only_check_deploy_connects_to_the_brokers(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def enter(setting: str, *others: Any) -> list[Any]:
        asked.append(setting)
        return []

    monkeypatch.setattr(checks_broker, "_enter", enter)
    settings.SLUICE_UPDATES_PUBLISHER_URL = settings.CELERY_BROKER_URL = "amqp://x@192.0.2.1/v"
    call_command("check", tags=["sluice_updates"])
    assert asked == []
    django_checks.run_checks(tags=["sluice_updates"], include_deployment_checks=True)
    assert asked == ["SLUICE_UPDATES_PUBLISHER_URL", "CELERY_BROKER_URL"]


def test_passwords_in_files(settings: Any, rabbitmq: RabbitMQ, tmp_path: Path) -> None:
    file = tmp_path / "password"
    url = rabbitmq.url.replace("guest:guest@", "guest:wrong@")
    settings.SLUICE_UPDATES_PUBLISHER_URL, settings.SLUICE_UPDATES_PUBLISHER_PASSWORD_FILE = url, str(file)
    settings.CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "sluice_layer.RabbitmqChannelLayer",
            "CONFIG": {"host": url, "password_file": str(file)},
        }
    }
    (layer,) = (
        checks_broker.check_broker()
    )  # check_publisher reports the publisher's, without a connection to a broker
    assert layer.id == "sluice_updates.W012" and "CHANNEL_LAYERS: password_file can't be read" in layer.msg
    file.write_text("guest\n")
    assert checks_broker.check_broker() == []
    file.write_text("another\n")
    assert ids(checks_broker.check_broker()) == ["sluice_updates.W011"] * 2


def test_a_broker_that_is_not_there(settings: Any) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # it does not listen
        settings.SLUICE_UPDATES_PUBLISHER_URL = f"amqp://x:y@127.0.0.1:{nobody.getsockname()[1]}/asgi"
        assert ids(checks_broker.check_broker()) == ["sluice_updates.W009"]


def test_a_broker_that_does_not_answer(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_broker, "_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        settings.SLUICE_UPDATES_PUBLISHER_URL = f"amqp://x:y@127.0.0.1:{mute.getsockname()[1]}/asgi"
        assert ids(checks_broker.check_broker()) == ["sluice_updates.W009"]


def test_a_vhost_that_is_missing_and_a_password_that_is_wrong(settings: Any, rabbitmq: RabbitMQ) -> None:
    url = rabbitmq.url
    settings.SLUICE_UPDATES_PUBLISHER_URL = url
    assert ids(checks_broker.check_broker()) == []
    settings.SLUICE_UPDATES_PUBLISHER_URL = f"{url}no-such-vhost"
    (found,) = checks_broker.check_broker()
    assert found.id == "sluice_updates.W010" and "has no vhost 'no-such-vhost'" in found.msg
    settings.SLUICE_UPDATES_PUBLISHER_URL = url.replace(":guest@", ":wrong@")
    assert ids(checks_broker.check_broker()) == ["sluice_updates.W011"]
