"""supervisor/: the program files as supervisord reads them, on a host and in a container."""

import json
import os
import re
import signal
import subprocess
import sys
from configparser import RawConfigParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.waiting import wait_until

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "supervisor"
PROGRAMS = ["gunicorn", "daphne", "channels-worker", "celery", "beat"]
KEYS = """
    command directory user environment autorestart startsecs stopwaitsecs killasgroup redirect_stderr
    stdout_logfile stdout_logfile_maxbytes socket socket_backlog numprocs process_name
"""
SOCKETS = {"gunicorn": "tcp://127.0.0.1:8000", "daphne": "tcp://127.0.0.1:8001"}
SERVICES = dict(zip(PROGRAMS, ["wsgi", "asgi", "worker", "celery", "beat"], strict=True))

# Debian's supervisor belongs to Debian's Python, not to the tests' virtual environment.
READ = """
import json, sys
from supervisor.options import ServerOptions
options = ServerOptions()
options.realize(["--configuration", sys.argv[1]])
json.dump([
    {
        "group": group.name,
        "name": process.name,
        "command": process.command,
        "directory": process.directory,
        "uid": process.uid,
        "numprocs": len(group.process_configs),
        "socket": str(getattr(group, "socket_config", "")),
        "stopsignal": int(process.stopsignal),
        "stopwaitsecs": process.stopwaitsecs,
        "killasgroup": process.killasgroup,
        "log": process.stdout_logfile,
        "log_maxbytes": process.stdout_logfile_maxbytes,
    }
    for group in options.process_group_configs for process in group.process_configs
], sys.stdout)
"""


def understood(main_file: Path, **environment: str) -> list[dict[str, Any]]:
    """The processes that supervisord would start."""
    done = subprocess.run(
        ["/usr/bin/python3", "-c", READ, str(main_file)],
        env={"PATH": os.environ["PATH"]} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def copied(folder: Path, target: Path) -> None:
    """Copy program files, with a log folder that exists on any machine, and the tests' own user."""
    target.mkdir(parents=True)
    for file in folder.glob("*.conf"):
        text = file.read_text().replace("/var/log/sluice/", f"{target}/")
        if os.getuid():
            text = text.replace("user = www-data", f"user = {os.getuid()}")
        (target / file.name).write_text(text)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host's main file, as Debian ships it, with a copy of our conf.d."""
    copied(FOLDER / "conf.d", tmp_path / "conf.d")
    main_file = tmp_path / "supervisord.conf"
    main_file.write_text("[supervisord]\n[include]\nfiles = conf.d/*.conf\n")
    return main_file


@pytest.fixture
def container(tmp_path: Path) -> Path:
    """The files in a container, as images/app/Dockerfile copies them."""
    copied(FOLDER / "conf.d", tmp_path / "conf.d")
    copied(FOLDER / "container", tmp_path / "container")
    main_file = tmp_path / "supervisord.conf"
    main_file.write_bytes((FOLDER / "supervisord.conf").read_bytes())
    return main_file


@pytest.fixture(params=PROGRAMS)
def program(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def section(program: str) -> dict[str, str]:
    parser = RawConfigParser(comment_prefixes=(";",), inline_comment_prefixes=())
    assert parser.read(FOLDER / "conf.d" / f"{program}.conf")
    (name,) = parser.sections()
    assert name in (f"program:{program}", f"fcgi-program:{program}")
    return dict(parser[name])


# --- each file ---


def test_its_keys_are_in_one_order(program: str) -> None:
    keys = list(section(program))
    assert keys == KEYS.split()[: len(keys)]
    assert section(program)["environment"] == f'SLUICE_PROGRAM="{program}"'


def test_it_needs_only_what_a_host_has(program: str) -> None:
    text = (FOLDER / "conf.d" / f"{program}.conf").read_text()
    assert "%(ENV_" not in text
    assert section(program)["command"].startswith("/opt/sluice/venv/bin/")
    assert section(program)["directory"] == "/opt/sluice/app"
    assert section(program)["user"] == "www-data"


def test_only_keys_that_are_not_defaults_have_comments(program: str) -> None:
    lines = (FOLDER / "conf.d" / f"{program}.conf").read_text().splitlines()
    after_comments = {
        following.split(" = ")[0]
        for line, following in pairwise(lines)
        if line.startswith(";") and not following.startswith(";")
    }
    plain = {"command", "directory", "user", "redirect_stderr", "stdout_logfile", "process_name"}
    assert not after_comments & plain


# --- all together ---


def test_a_host_runs_the_workers_as_one_group_and_the_servers_on_their_sockets(host: Path) -> None:
    """supervisord starts an fcgi-program in a [group] without its socket."""
    groups: dict[str, list[str]] = {}
    for process in understood(host):
        groups.setdefault(process["group"], []).append(process["name"])
        assert process["socket"] == SOCKETS.get(process["group"], "")
    assert groups == {
        "gunicorn": ["gunicorn_00", "gunicorn_01"],
        "daphne": ["daphne_00", "daphne_01"],
        "sluice": ["channels-worker", "celery", "beat"],
    }


def test_the_place_is_read_after_the_programs_and_before_none_of_its_own(host: Path) -> None:
    """In supervisord, the last file wins."""
    place = (FOLDER / "host/supervisor.conf").read_text()
    place += "[program:celery]\nstopwaitsecs = 99\n"
    (host.parent / "conf.d" / "sluice-place.conf").write_text(place)
    waits = {process["name"]: process["stopwaitsecs"] for process in understood(host)}
    assert waits["celery"] == 99 and waits["beat"] == 10


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_container_runs_one_and_the_listener(container: Path, program: str) -> None:
    for other in {"daphne", "gunicorn"} - {program}:
        (container.parent / "container" / f"{other}.conf").unlink()  # it is only in its own image
    processes = understood(container, SUPERVISOR_PROGRAM=program)
    assert sorted(process["group"] for process in processes) == sorted([program, "fatal"])
    (process,) = (process for process in processes if process["group"] == program)
    assert "--fd" not in process["command"]  # it opens its own socket, so that it can close it
    if program == "gunicorn":
        assert "--bind 0.0.0.0:8000" in process["command"]  # this overrides the configuration's value


def test_a_container_has_time_for_what_supervisor_waits_for(host: Path) -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for process in understood(host):
        name = re.sub(r"_\d\d$", "", process["name"])
        grace = int(services[SERVICES[name]]["stop_grace_period"].removesuffix("s"))
        assert process["stopsignal"] == 15
        assert process["killasgroup"] is True
        # supervisord checks once a second, before and after.
        assert process["stopwaitsecs"] + 5 <= grace, name


def test_gunicorn_and_daphne_are_waited_for_longer_than_they_drain(host: Path) -> None:
    waits = {process["name"]: process["stopwaitsecs"] for process in understood(host)}
    graceful = re.search(
        r"^graceful_timeout = (\d+)",
        (ROOT / "packages/sluice-stack/src/sluice_stack/gunicorn/configuration.py").read_text(),
        re.M,
    )
    assert graceful and int(graceful[1]) < waits["gunicorn_00"]
    server = (ROOT / "packages/sluice-updates/src/sluice_updates/asgi/draining.py").read_text()
    drain = re.search(r"^DRAIN_SECONDS\b.* = ([\d.]+)", server, re.M)
    assert drain and float(drain[1]) < waits["daphne_00"]


# --- the listener ---


def test_the_listener_ends_its_parent_when_a_program_failed_for_good(tmp_path: Path) -> None:
    """The test plays supervisord: it speaks the protocol to the listener, and receives the signal."""
    marked = tmp_path / "fatal-listener"
    marked.write_text((FOLDER / "fatal-listener").read_text().replace("/tmp/fatal", str(tmp_path / "fatal")))
    payload = "processname:gunicorn groupname:gunicorn from_state:BACKOFF"
    header = f"ver:3.0 server:supervisor serial:1 pool:fatal eventname:PROCESS_STATE_FATAL len:{len(payload)}"
    stand_in = f"""
import signal, subprocess, sys
signal.signal(signal.SIGTERM, lambda *_: (print("told to stop", flush=True), sys.exit(0)))
pipe = subprocess.PIPE
listener = subprocess.Popen(["bash", {str(marked)!r}], stdin=pipe, stdout=pipe)
assert listener.stdout.readline() == b"READY\\n"
listener.stdin.write(b"{header}\\n{payload}")
listener.stdin.flush()
signal.pause()
"""
    done = subprocess.run([sys.executable, "-c", stand_in], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (0, "told to stop\n")
    assert "processname:gunicorn" in done.stderr
    assert (tmp_path / "fatal").exists()


# --- the container's status ---

# The program's reaction to SIGTERM, as a line of its script, and the container's resulting status.
ENDS = {
    "in order": ("trap 'exit 0' TERM", 0),
    "with a status of its own": ("trap 'exit 3' TERM", 3),
    "by the signal": ("trap - TERM", 128 + signal.SIGTERM),
    "not, until it is killed": ("trap '' TERM", 128 + signal.SIGKILL),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_container_ends_with_the_status_of_its_program(tmp_path: Path, how: str) -> None:
    on_term, expected = ENDS[how]
    program, ready = tmp_path / "program", tmp_path / "ready"
    program.write_text(f"{on_term}\ntouch {ready}\nwhile sleep 0.1; do :; done\n")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/it.conf").write_text(
        f"[program:it]\ncommand = /bin/bash {program}\nstopwaitsecs = 1\nkillasgroup = true\n"
    )
    main_file = (FOLDER / "supervisord.conf").read_text().replace("/tmp/", f"{tmp_path}/")
    (tmp_path / "supervisord.conf").write_text(main_file)
    supervise = (ROOT / "images/app/supervise").read_text()
    supervise = supervise.replace("/etc/supervisor", str(tmp_path)).replace("/tmp/fatal", f"{tmp_path}/fatal")
    container = subprocess.Popen(["/usr/bin/python3", "-c", supervise, "it"], stdout=subprocess.DEVNULL)
    try:
        wait_until(ready.exists, 20, "the program's start")
        container.terminate()
        assert container.wait(20) == expected
    finally:
        container.kill()
