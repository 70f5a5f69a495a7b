"""Whether one manager, supervisord or systemd, restarts each program of a host.

If supervisord is killed, process 1 adopts its programs. The site works as before. But a program that ends is
not restarted, and a new supervisord fails or runs a second set of programs.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from typing import Final

from .deployment import Check, Deployment
from .finding import Finding, Skipped, failed, passed, skipped, warning
from .started import PROC, Started, all_are_seen, started

_SUPERVISORD: Final = "supervisord"
_SYSTEMD: Final = "systemd"
_GUIDE: Final = "docs/how-to/bare-metal.md"
_SECONDS: Final = 10.0


def _programs(deployment: Deployment) -> Iterator[Finding]:
    if deployment.in_container:
        raise Skipped("the engine restarts a container's program")
    if not all_are_seen():
        raise Skipped("only root sees all processes, in a container only with SYS_PTRACE")
    found = _first(list(started()))
    if not found:
        yield failed(
            "no program of the site runs here",
            f"run service supervisor start, or systemctl start sluice.target ({_GUIDE})",
        )
    managers = {process: _manager(process) for process in found}
    orphans = [process for process in found if process.by_supervisord and not managers[process]]
    if orphans:
        yield _of_orphans(orphans)
    for process in found:
        if process not in orphans:
            yield _of_process(process, managers[process])
    for program in dict.fromkeys(process.program for process in found):
        yield from _twice(program, {one: by for one, by in managers.items() if one.program == program})


def _first(processes: Sequence[Started]) -> list[Started]:
    """The processes that are no children of others in the list, as workers of Gunicorn and Celery are."""
    pids = {process.pid for process in processes}
    return sorted(
        (process for process in processes if process.parent not in pids),
        key=lambda process: (process.program, process.pid),
    )


def _manager(process: Started) -> str:
    """The manager that restarts the process when it ends; "" if unknown."""
    if process.by_supervisord and _SUPERVISORD in _command(process.parent):
        return _SUPERVISORD
    if _is_main_process_of_a_unit(process.pid):
        return _SYSTEMD
    return ""


def _of_orphans(orphans: Sequence[Started]) -> Finding:
    pids = " ".join(str(process.pid) for process in orphans)
    return failed(
        f"their supervisord has died, so nothing restarts them when they end or settings change ({pids})",
        f"sluice-restart prints the lines: kill {pids}; when they have gone, service supervisor start"
        " (docs/reference/symptoms.md#address-already-in-use)",
        ", ".join(process.program for process in orphans),
    )


def _of_process(process: Started, manager: str) -> Finding:
    where = f"{process.program}, process {process.pid}"
    if manager:
        return passed(f"{manager} restarts it when it ends", where)
    if process.parent == 1:
        return warning(
            "no known manager restarts it when it ends",
            f"end it, and run it by supervisord or systemd: {_GUIDE}",
            where,
        )
    by = os.path.basename(_command(process.parent).partition(" ")[0]) or "its parent"
    return skipped(f"it is unknown whether {by}, process {process.parent}, restarts it", where)


def _twice(program: str, managers: dict[Started, str]) -> Iterator[Finding]:
    # Ignores other commands, such as manage.py, that somebody runs with this program's settings.
    running = [process for process in managers if program in _command(process.pid)]
    pids = ", ".join(str(process.pid) for process in running)
    if {_SUPERVISORD, _SYSTEMD} <= set(managers.values()):
        yield failed(
            f"supervisord and systemd both run it: processes {pids}",
            f"stop one of them: {_GUIDE}, From supervisor to systemd",
            program,
        )
    elif program == "beat" and len(running) > 1:
        yield failed(
            f"it runs {len(running)} times, processes {pids}, so each job runs as often",
            "end what neither supervisorctl status nor systemctl status sluice-beat lists",
            program,
        )


def _command(pid: int) -> str:
    try:
        return (PROC / f"{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:  # it has ended
        return ""


def _is_main_process_of_a_unit(pid: int) -> bool:
    try:
        groups = (PROC / f"{pid}/cgroup").read_text()
        # In both versions of control groups the path ends with the unit's name.
        units = set(re.findall(r"/([^/\n]+\.service)$", groups, re.MULTILINE))
        return any(_main_process(unit) == str(pid) for unit in units)
    except (OSError, subprocess.SubprocessError):  # there is no systemd, or it doesn't answer
        return False


def _main_process(unit: str) -> str:
    return subprocess.run(
        ["systemctl", "show", "--value", "--property", "MainPID", "--", unit],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    ).stdout.strip()


CHECKS: Final = [Check("programs", "one manager restarts each program when it ends", _programs)]
