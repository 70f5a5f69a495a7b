"""Names of static files, with and without collectstatic."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice_stack.static_storage import ManifestStorage


def test_files_that_were_never_collected_are_reported_missing(tmp_path: Path) -> None:
    storage = ManifestStorage(location=str(tmp_path), base_url="/static/")
    with pytest.raises(
        ValueError, match=rf"not been collected: {tmp_path} has none; run `manage.py collectstatic`"
    ):
        storage.url("common/site.css", force=True)


def test_a_file_that_was_not_collected_is_named(tmp_path: Path) -> None:
    storage = ManifestStorage(location=str(tmp_path), base_url="/static/")
    storage.hashed_files = {"common/site.css": "mysite/site.5af66c1b1797.css"}
    assert storage.url("common/site.css", force=True) == "/static/mysite/site.5af66c1b1797.css"
    with pytest.raises(ValueError, match=r"Missing staticfiles manifest entry for 'mysite/other\.css'"):
        storage.url("mysite/other.css", force=True)
