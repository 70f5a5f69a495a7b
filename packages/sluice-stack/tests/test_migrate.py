"""`sluice_stack.migrate`, step by step."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection

from sluice_stack import grants, migrate

HERE = Path(__file__).parent


def run(**environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "SECRET_KEY_FILE")}
    kept["PYTHONPATH"] = os.pathsep.join(sys.path)  # this checkout, even if another is installed
    return subprocess.run(
        [sys.executable, "-m", "sluice_stack.migrate"],
        cwd=HERE,
        env=kept | environ,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_all_steps_in_order_and_the_projects_own_among_them(tmp_path: Path) -> None:
    """The host's file names the project."""
    file = tmp_path / "sluice.env"
    file.write_text(
        f"DJANGO_SETTINGS_MODULE=stacksite.settings\nDATABASE_URL=sqlite:///{tmp_path}/db.sqlite3\n"
    )
    done = run(SLUICE_ENV_FILE=str(file))
    assert done.returncode == 0, done.stderr
    assert [line.split(": ")[1] for line in done.stdout.splitlines()] == [
        "tables",
        "rights",
        "administrator",
        "greeting",
        "static files",
    ]
    assert "sluice migrate: greeting: hello (" in done.stdout


def test_without_a_project_it_says_what_is_missing() -> None:
    done = run()
    assert done.returncode == 78
    assert done.stderr == (
        "sluice migrate: DJANGO_SETTINGS_MODULE is not set;"
        " name the site's settings, on a host in /etc/sluice/sluice.env\n"
    )


def test_a_project_adds_rights_to_tables_of_its_own() -> None:
    table = grants.table()
    assert table["beat"] == {**grants.STACK["beat"], "django_admin_log": "SELECT"}
    assert table["asgi"] == grants.STACK["asgi"]


def test_rights_of_a_role_that_no_service_has_are_refused(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stacksite import steps

    monkeypatch.setattr(steps, "GRANTS", {"wsig": {"django_admin_log": "SELECT"}})
    with pytest.raises(
        ImproperlyConfigured, match=r"stacksite.steps.GRANTS has the role wsig, .* wsgi, asgi"
    ):
        grants.table()


def test_a_model_in_another_database_does_not_stop_a_project_without_a_list() -> None:
    wanted = {"django_admin_log": "SELECT", "auth_user": "SELECT", "in_another_database": "SELECT"}
    tables = {"django_admin_log"}
    assert grants._present("asgi", wanted, tables, is_open=True).keys() == {"django_admin_log"}
    # In a list, a misspelt name must fail.
    listed = grants._present("asgi", wanted, tables, is_open=False)
    assert listed.keys() == {"django_admin_log", "in_another_database"}


@pytest.fixture
def password(settings: Any, tmp_path: Path) -> Path:
    path = tmp_path / "admin_password"
    path.write_text("first")
    settings.SLUICE_STACK_ADMIN_PASSWORD_FILE = str(path)
    settings.SLUICE_STACK_ADMIN_USERNAME = "root"
    return path


def test_the_administrator_is_created_kept_and_reset(db: None, password: Path) -> None:
    assert migrate.administrator() == "created root"
    admin = get_user_model().objects.get()
    assert admin.is_superuser and admin.is_staff and admin.check_password("first")
    assert migrate.administrator() == "root exists"
    assert get_user_model().objects.get().password == admin.password
    password.write_text("second")
    get_user_model().objects.update(is_active=False)
    assert migrate.administrator() == "reset root"
    admin.refresh_from_db()
    assert admin.check_password("second") and admin.is_active


def test_no_password_no_administrator(db: None, settings: Any) -> None:
    settings.SLUICE_STACK_ADMIN_PASSWORD_FILE = ""
    assert migrate.administrator().startswith("unchanged")
    assert not get_user_model().objects.exists()


def test_static_files_are_copied_over_and_old_ones_stay(settings: Any, tmp_path: Path) -> None:
    settings.STATIC_ROOT, settings.SLUICE_STACK_STATIC_ROOT = tmp_path / "baked", tmp_path / "published"
    (tmp_path / "baked/css").mkdir(parents=True)
    (tmp_path / "baked/css/a.123456789abc.css").write_text("a")
    (tmp_path / "baked/staticfiles.json").write_text("{}")
    assert migrate.static().startswith("copied 2 files")
    assert migrate.static().startswith("copied 0 files")
    (tmp_path / "baked/css/a.123456789abc.css").rename(tmp_path / "baked/css/a.bbbbbbbbbbbb.css")
    (tmp_path / "baked/staticfiles.json").write_text("[]")
    assert migrate.static().startswith("copied 2 files")
    published = sorted(path.name for path in (tmp_path / "published").rglob("*") if path.is_file())
    assert published == ["a.123456789abc.css", "a.bbbbbbbbbbbb.css", "staticfiles.json"]
    assert (tmp_path / "published/staticfiles.json").read_text() == "[]"


def test_rights_are_for_postgresql(db: None) -> None:
    said = migrate.rights()
    assert said.startswith("none: the database has no roles") or connection.vendor == "postgresql"


def test_migrating_again_changes_nothing(transactional_db: None) -> None:
    try:
        assert migrate.tables() == "up to date"
    except DatabaseError as error:  # pragma: no cover
        pytest.fail(str(error))
