"""The secrets that `init` creates."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from sluice_stack import init


@pytest.fixture(autouse=True)
def groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the image's groups, to which this process does not belong."""
    monkeypatch.setattr(init, "GROUPS", dict.fromkeys(init.GROUPS, os.getgid()))
    monkeypatch.setattr("sys.argv", ["init"])


def run(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["init", "--directory", str(directory)])
    monkeypatch.setattr(os, "environ", {"SLUICE_SERVICE": "init"})
    init.main()


def test_each_secret_is_created_separately(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, monkeypatch)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == sorted(init.GROUPS)
    assert len({file.read_text() for file in files}) == len(files)
    for file in files:
        assert init.FORM.fullmatch(file.read_text())
        assert stat.S_IMODE(file.stat().st_mode) == 0o440


def test_existing_secrets_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, monkeypatch)
    before = {file.name: file.read_text() for file in tmp_path.iterdir()}
    (tmp_path / "db_wsgi").unlink()
    (tmp_path / "mq_layer").chmod(0o644)
    (tmp_path / "mq_tasks").chmod(0o644)
    (tmp_path / "mq_tasks").write_text("")
    run(tmp_path, monkeypatch)
    after = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"db_wsgi", "mq_tasks"}
    assert stat.S_IMODE((tmp_path / "mq_layer").stat().st_mode) == 0o440


def test_an_interrupted_start_leaves_nothing_harmful(tmp_path: Path) -> None:
    (tmp_path / ".db_wsgi.unfinished").write_text("half")
    assert init.ensure(tmp_path, "db_wsgi")
    assert [file.name for file in tmp_path.iterdir()] == ["db_wsgi"]


@pytest.mark.parametrize("content", ["short", "x" * 31 + "!", "a b" * 20])
def test_an_invalid_secret_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "db_wsgi").write_text(content)
    with pytest.raises(init.Unusable, match="it must be 32 or more letters and digits; remove it"):
        init.ensure(tmp_path, "db_wsgi")


def test_a_directory_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "db_wsgi").mkdir()
    with pytest.raises(init.Unusable, match="is not a file"):
        init.ensure(tmp_path, "db_wsgi")


def test_no_directory_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(tmp_path / "none", monkeypatch)
    assert caught.value.code == 78
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_bad_env_ends_it_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["init", "--directory", str(tmp_path)])
    monkeypatch.setattr(os, "environ", {"SLUICE_SERVICE": "init", "HTTP_PROT": "1"})
    with pytest.raises(SystemExit):
        init.main()
    assert capsys.readouterr().err.startswith("sluice init: HTTP_PROT is not a setting")
    assert list(tmp_path.iterdir()) == []
