"""Addresses that are not in the settings come from the environment, or from a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sluice_updates import conf, settings_file
from sluice_updates.checks import project as checks_project
from updates_lab.site import environment

NAME = "SLUICE_UPDATES_PUBLISHER_URL"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Path:
    """The file, before it exists, and settings without addresses."""
    path = tmp_path / "updates.env"
    monkeypatch.setenv("SLUICE_UPDATES_FILE", str(path))
    for name in settings_file.NAMES:
        monkeypatch.delenv(name, raising=False)
        if hasattr(settings, name):
            delattr(settings, name)
    return path


def test_the_settings_come_first_then_the_environment_then_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    assert conf.publisher_url() == ""
    file.with_name("other.env").write_text(f"# a comment\n\n{NAME} = amqp://file/asgi\n")
    monkeypatch.setenv("SLUICE_UPDATES_FILE", str(file.with_name("other.env")))
    assert conf.publisher_url() == "amqp://file/asgi"
    monkeypatch.setenv(NAME, "amqp://environment/asgi")
    assert conf.publisher_url() == "amqp://environment/asgi"
    setattr(settings, NAME, "")
    assert conf.publisher_url() == ""


def test_only_addresses_come_from_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_UPDATES_EXPOSE_BACKEND", "no")
    monkeypatch.setenv("SLUICE_UPDATES_BIND", "127.0.0.1:9001")
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr("django.conf.settings.SLUICE_UPDATES_EXPOSE_BACKEND")
        assert conf.expose_backend() is False
    assert conf.bind() == "127.0.0.1:9001"


@pytest.mark.parametrize("line", ["SLUICE_UPDATES_PUBLISHER", "PUBLISHER_URL=amqp://host/asgi", "=x y"])
def test_a_line_that_is_no_setting_is_named(file: Path, line: str) -> None:
    file.write_text(f"SLUICE_UPDATES_BIND=127.0.0.1:9001\n{line}\n")
    (found,) = checks_project.check_settings_file()
    assert found.id == "sluice_updates.W031"
    assert f"{file}: line 2 is not NAME=value, " in found.msg
    assert conf.bind() == "127.0.0.1:9001"


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    file.mkdir()
    (found,) = checks_project.check_settings_file()
    assert "can't read it: " in found.msg
    assert conf.publisher_url() == ""


def test_no_file_is_fine(file: Path) -> None:
    assert checks_project.check_settings_file() == []


LAYERS = "from channels.layers import get_channel_layer; print(type(get_channel_layer()).__name__)"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "NoneType"),
        ({"SLUICE_UPDATES_LAYER_URL": "amqp://layer@127.0.0.1/asgi"}, "RabbitmqChannelLayer"),
        (  # the project's own layer stays
            {"SLUICE_UPDATES_LAYER_URL": "amqp://layer@127.0.0.1/asgi", "HUBSITE_LAYER": "memory"},
            "InMemoryChannelLayer",
        ),
    ],
    ids=["none", "by the URL", "the project's own"],
)
def test_the_layer_is_there_for_the_whole_project(variables: dict[str, str], expected: str) -> None:
    """Also for consumers, workers and `group_send` in views."""
    done = subprocess.run(
        [sys.executable, "-c", f"import django; django.setup(); {LAYERS}"],
        env=environment(DATABASE_URL="sqlite:///no.sqlite3", **{"HUBSITE_LAYER": "none"} | variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == expected
