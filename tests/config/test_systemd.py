"""systemd/: the same programs as supervisor's files, for hosts that use systemd."""

from configparser import ConfigParser
from pathlib import Path

import pytest

from sluice_stack.environment import EX_CONFIG

FOLDER = Path(__file__).parents[2] / "systemd"
PROGRAMS = FOLDER.parent / "supervisor/conf.d"
UNITS = {
    "gunicorn": "sluice-gunicorn@.service",
    "daphne": "sluice-daphne@.service",
    "channels-worker": "sluice-channels-worker.service",
    "celery": "sluice-celery.service",
    "beat": "sluice-beat.service",
}


def read(path: Path) -> ConfigParser:
    parser = ConfigParser(comment_prefixes=("#", ";"), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names have capitals
    assert parser.read(path)
    return parser


@pytest.mark.parametrize("program", UNITS)
def test_each_unit_matches_the_program_file(program: str) -> None:
    service = read(FOLDER / UNITS[program])["Service"]
    (section,) = (ours := read(PROGRAMS / f"{program}.conf")).sections()
    ours_says = ours[section]
    assert service["ExecStart"].replace("--fd 3", "--fd 0") == ours_says["command"]
    assert service["WorkingDirectory"] == ours_says["directory"]
    assert service["User"] == ours_says["user"]
    assert service["TimeoutStopSec"] == ours_says["stopwaitsecs"]
    assert service["Environment"] == ours_says["environment"].replace('"', "")


@pytest.mark.parametrize("program", UNITS)
def test_a_unit_is_started_again_but_for_a_mistake_in_the_settings(program: str) -> None:
    """If a unit reached a start limit, systemd would close its socket."""
    unit = read(FOLDER / UNITS[program])
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert unit["Service"]["Restart"] == "always"
    assert unit["Service"]["RestartPreventExitStatus"] == str(EX_CONFIG)


@pytest.mark.parametrize("program", ["gunicorn", "daphne"])
def test_a_socket_unit_listens_where_supervisor_does(program: str) -> None:
    listens = read(FOLDER / f"sluice-{program}.socket")["Socket"]
    ours = read(PROGRAMS / f"{program}.conf")[f"fcgi-program:{program}"]
    assert f"tcp://{listens['ListenStream']}" == ours["socket"]
    assert listens["Backlog"] == ours["socket_backlog"]
    service = read(FOLDER / UNITS[program])["Service"]
    assert service["Sockets"] == f"sluice-{program}.socket"
    assert service["NonBlocking"] == "yes" and "StandardInput" not in service


def test_each_program_has_a_unit_and_there_are_no_others() -> None:
    names = {"sluice-gunicorn.service", "sluice-daphne.service"}
    assert {path.name for path in FOLDER.glob("*.service")} == set(UNITS.values()) | names
    assert {path.stem for path in PROGRAMS.glob("*.conf")} == set(UNITS) | {"sluice"}
