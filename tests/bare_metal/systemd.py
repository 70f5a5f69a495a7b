"""A machine on which systemd is process 1, as on an installed Debian. Our other machines have none."""

from __future__ import annotations

import contextlib
import re
from typing import Any

from docker.errors import ImageNotFound

from harness.engine import engine
from harness.waiting import wait_until

from .machine import Machine

# systemd needs a writable tree of control groups, from version 256 on in version 2. We mount one below the
# container's own, which the engine still uses for `exec`. This works on hosts with both versions: where the
# controllers belong to version 1, systemd does without them.
_BOOT = """
set -eux
umount --recursive /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /sys/fs/cgroup/$NAME
echo $$ >/sys/fs/cgroup/$NAME/cgroup.procs
exec unshare --cgroup bash -c '
    umount /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    exec /sbin/init
'
"""
_UNITS = {
    "wsgi": "sluice-gunicorn@*",
    "asgi": "sluice-daphne@*",
    "worker": "sluice-channels-worker",
    "celery": "sluice-celery",
    "beat": "sluice-beat",
}
UNITS = (
    *("sluice-gunicorn@1", "sluice-gunicorn@2", "sluice-daphne@1", "sluice-daphne@2"),
    *("sluice-channels-worker", "sluice-celery", "sluice-beat"),
)
"""The units that run a program."""


class SystemdMachine(Machine):
    """It can't write the host's settings.

    In addition to a container's usual privileges, it may mount, and inspect its own processes as root. The
    engine keeps /proc/sys and /sys read-only, and hides the host's devices.
    """

    def __init__(self, suite: str, prefix: str = "") -> None:
        """Install systemd on a machine, and start it."""
        plain = Machine(suite, prefix)
        try:
            plain.boot()
            plain.shell(
                "apt-get install -qq --no-install-recommends systemd-sysv dbus iproute2 >/dev/null 2>&1"
            )
            image = plain.picture("systemd")
        finally:
            plain.close()
        super().__init__(suite, prefix, image=image)

    def _options(self) -> dict[str, Any]:
        options = super()._options()
        return options | {
            "command": ["bash", "-c", _BOOT],
            "init": False,
            "cgroupns": "private",
            "cap_add": ["SYS_ADMIN", "SYS_PTRACE"],
            "security_opt": ["apparmor=unconfined"],
            "tmpfs": {"/run": "", "/run/lock": "", "/tmp": "exec"},
            "stop_signal": "SIGRTMIN+3",
            "environment": options["environment"] | {"container": "docker", "NAME": self.name},
        }

    # ---- power

    def power_on(self) -> SystemdMachine:
        """Start it if it is off. Returns when systemd has started all units."""
        self.container.start()
        wait_until(
            lambda: self.system_state() in ("running", "degraded"),
            120,
            f"systemd up on {self.name}",
            every=0.5,
        )
        return self

    def power_cut(self) -> None:
        """Switch it off without notice."""
        self.container.kill()
        wait_until(lambda: self._status() == "exited", 10, f"the end of {self.name}")

    def shut_down(self) -> None:
        """Shut it down in order, as `poweroff` does."""
        self.container.stop(timeout=120)

    def _status(self) -> str:
        self.container.reload()
        status: str = self.container.status
        return status

    def close(self) -> None:
        super().close()
        with contextlib.suppress(ImageNotFound):
            engine().images.remove(self.image, force=True)

    # ---- systemd's reports

    def system_state(self) -> str:
        """starting, running, degraded (some unit has failed), …"""
        return self.exec("systemctl", "is-system-running").output.strip()

    def property_of(self, unit: str, name: str) -> str:
        return self.shell(f"systemctl show --value --property {name} '{unit}'").strip()

    def pids(self) -> dict[str, str]:
        """The main process of each unit."""
        return {unit: self.property_of(unit, "MainPID") for unit in UNITS}

    def states(self) -> dict[str, str]:
        """The state of each unit that runs a program, in supervisor's terms where they exist."""
        listed = self.exec("systemctl", "list-units", "--all", "--plain", "--no-legend", "sluice-*.service")
        found = dict(re.findall(r"^(\S+)\.service +\S+ +\S+ +(\S+)", listed.output, re.MULTILINE))
        return {
            unit: {"failed": "FATAL"}.get(state, state.upper())
            for unit, state in found.items()
            if unit in UNITS
        }

    def log_of(self, who: str) -> str:
        if who not in _UNITS:
            return super().log_of(who)
        return self.shell(f"journalctl --quiet --no-pager --output cat --unit '{_UNITS[who]}'")

    def evidence(self) -> str:
        return self.exec(
            "bash", "-c",
            "systemctl list-units --all --no-pager 'sluice*'; systemctl --failed --no-pager;"
            "journalctl --quiet --no-pager --boot --lines 300; ps axo pid,user,args;"
            "tail -n 40 /var/log/nginx/*",
        ).output  # fmt: skip
