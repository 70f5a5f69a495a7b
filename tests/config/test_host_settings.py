"""What make reads from .env, as compose would, and what it writes there. The operator's lines stay
unchanged.
"""

from pathlib import Path

import pytest

from config.host_shell import sh


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("HTTP_PORT=8081", "8081"),
        ("export HTTP_PORT=8081", "8081"),
        ("HTTP_PORT = 8081", "8081"),
        ("HTTP_PORT='8081' # mine", "8081"),
        ('HTTP_PORT="8081"', "8081"),
        ("HTTP_PORT=8081  # mine", "8081"),
        ("HTTP_PORT=1\nHTTP_PORT=8081", "8081"),
        ("#HTTP_PORT=8081", "fallback"),
        ("HTTP_PORT=", "fallback"),
        ("MY_HTTP_PORT=8081", "fallback"),
    ],
)
def test_a_setting_is_read_as_compose_reads_it(tmp_path: Path, line: str, value: str) -> None:
    (tmp_path / ".env").write_text(f"{line}\n")
    assert sh("setting HTTP_PORT fallback", tmp_path).stdout == value


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("HTTP_PORT=1\n")
    assert sh("setting HTTP_PORT", tmp_path, {"HTTP_PORT": "2"}).stdout == "2"


def test_without_a_file_the_default_holds(tmp_path: Path) -> None:
    assert sh("setting HTTP_PORT 8080", tmp_path).stdout == "8080"


@pytest.mark.parametrize("before", ["", "A=1\n", "# mine\n\nA='x y' # z", "A=1\r\nB=2\r\n"])
def test_make_removes_what_it_wrote(tmp_path: Path, before: str) -> None:
    env = tmp_path / ".env"
    if before:
        env.write_bytes(before.encode())
    sh(
        "remember BASE_IMAGE sluice-base; remember CA_CERTIFICATES /ca; remember BASE_IMAGE sluice-base",
        tmp_path,
    )
    assert env.read_text().count("\nBASE_IMAGE=sluice-base\n") == 1
    assert sh("setting BASE_IMAGE; setting CA_CERTIFICATES", tmp_path).stdout == "sluice-base/ca"
    sh("forget", tmp_path)
    left = env.read_bytes().decode() if env.exists() else ""
    assert left == (before if before.endswith("\n") or not before else f"{before}\n")


def test_a_file_with_nothing_else_in_it_goes_too(tmp_path: Path) -> None:
    sh("remember BASE_IMAGE sluice-base; forget", tmp_path)
    assert not (tmp_path / ".env").exists()


def test_the_operators_own_line_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BASE_IMAGE=mine\n")
    sh("remember BASE_IMAGE sluice-base; forget", tmp_path)
    assert (tmp_path / ".env").read_text() == "BASE_IMAGE=mine\n"


def test_the_operators_own_lines_are_distinguished_from_ours(tmp_path: Path) -> None:
    told = "own_setting BASE_IMAGE; echo .; own_setting CA_CERTIFICATES"
    said = sh(f"echo BASE_IMAGE=mine > .env; remember CA_CERTIFICATES /ca; {told}", tmp_path).stdout
    assert said.endswith("\nmine\n.\n")


def test_lines_written_behind_ours_are_kept(tmp_path: Path) -> None:
    sh(
        "remember BASE_IMAGE sluice-base; echo HTTP_PORT=1 >> .env; remember CA_CERTIFICATES /ca; forget",
        tmp_path,
    )
    assert (tmp_path / ".env").read_text() == "HTTP_PORT=1\n"
