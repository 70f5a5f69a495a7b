"""The site's own settings in the table, and the files that are generated from the whole table."""

from __future__ import annotations

from pathlib import Path

import pytest

from mysite.environment import Environment
from sluice_stack import environment
from sluice_stack.environment import reference

ROOT = Path(__file__).parents[2]


def test_the_site_s_settings_are_in_the_table() -> None:
    assert environment.project_table({"DJANGO_SETTINGS_MODULE": "mysite.settings"}) is Environment
    assert environment.parse({"CROP_QUOTA_MB": "7"}, Environment).crop_quota_mb == 7
    with pytest.raises(environment.Malformed, match="CROP_MAX_VOXELS=1e6 is malformed: it must be a whole"):
        environment.parse({"CROP_MAX_VOXELS": "1e6"}, Environment)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("docs/reference/environment.md", reference.page(Environment)),
        (".env.example", reference.example(Environment)),
    ],
    ids=["page", "example"],
)
def test_the_reference_page_and_the_example_are_the_tables(name: str, text: str) -> None:
    written = (ROOT / name).read_text(encoding="utf-8")
    assert written == text, f"{name} is out of date: run scripts/environment-reference"


def test_the_example_is_a_valid_env_file_when_every_line_is_taken_in() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    taken = [line.removeprefix("#") for line in lines if line.startswith("#") and line[1:2].isupper()]
    values = dict(line.split("=", 1) for line in taken)
    assert len(values) == len(taken) > 20 and not environment.unknown_names(values, table=Environment)
    assert environment.parse(values, Environment) == environment.parse({}, Environment)


@pytest.mark.parametrize("program", ["", "gunicorn", "daphne", "channels-worker", "celery", "beat"])
def test_the_files_that_are_shipped_for_a_host_are_in_order(program: str) -> None:
    shipped = ROOT / "supervisor/host"
    values = environment.with_file(
        {"SLUICE_ENV_FILE": str(shipped / "sluice.env"), "SLUICE_PROGRAM": program}
    )
    env = environment.parse(values)
    assert isinstance(env, Environment)
    assert env.database_url.startswith(f"postgresql://{ROLES[program]}@127.0.0.1:5432/")


ROLES = {
    "": "owner",
    "gunicorn": "wsgi",
    "daphne": "asgi",
    "channels-worker": "worker",
    "celery": "celery",
    "beat": "beat",
}
