"""The checks of docs/how-to/catmaid.md that need no CATMAID. Sluice's sample site replaces it."""

from __future__ import annotations

import pytest

from bare_metal.guide import Guide, with_values
from bare_metal.machine import CommandFailed, Machine
from harness.waiting import wait_until

GUIDE = Guide.read("catmaid.md")
_, *CHECKS = GUIDE.titles
_CHANNELS = "/etc/nginx/snippets/sluice/channels.conf"
_DAPHNE = "/etc/supervisor/conf.d/daphne.conf"
_FIRST = 'runuser --user www-data -- prlimit --pid "$(supervisorctl pid daphne:daphne_00)"'
SPOILT = {
    "RabbitMQ's version": ("rabbitmqctl() { echo 3.7.28; }", "", "3.7.28"),
    "One vhost": ("vhost=celery", "", ""),
    "The socket opens": ("supervisorctl stop daphne:*", "supervisorctl start daphne:*", " 503 "),
    "Nothing else reaches Daphne": (
        f"cp {_CHANNELS} /root; sed -i 's/^.*= 426. {{.*//' {_CHANNELS}; service nginx restart",
        f"cp /root/channels.conf {_CHANNELS}; service nginx restart",
        "",
    ),
    "Clients forge no address or host": (
        "echo 'proxy_set_header Host $host;' >/etc/nginx/conf.d/spoilt.conf",
        "rm /etc/nginx/conf.d/spoilt.conf",
        "proxy_set_header Host $host;",
    ),
    "Daphne listens on the loopback only": (
        f"sed -i.loopback 's/127.0.0.1:8001/0.0.0.0:8001/' {_DAPHNE}; supervisorctl update",
        f"mv {_DAPHNE}.loopback {_DAPHNE}; supervisorctl update",
        "00000000:1F41",
    ),
    "Daphne runs under supervisor": (  # one of two
        "supervisorctl stop daphne:daphne_00",
        "supervisorctl start daphne:daphne_00",
        "STOPPED",
    ),
    "Open files": (  # of the process that the check reads first
        f"{_FIRST} --nofile=1024:",
        f"{_FIRST} --nofile=16384:",
        "1024 ",
    ),
    "fs.file-max is the kernel's default": (
        "echo 'fs.file-max = 65536' >/etc/sysctl.d/spoilt.conf",
        "rm /etc/sysctl.d/spoilt.conf",
        "/etc/sysctl.d/spoilt.conf:fs.file-max = 65536",
    ),
}
"""For each point: the command that breaks it, the command that repairs it, and the check's output in
between.
"""


def run(machine: Machine, check: str, *, after: str = "") -> str:
    (begin,) = GUIDE.of("The checks")
    begin = with_values(begin, site="http://localhost", prefix=machine.prefix, vhost="asgi", daphne="daphne:")
    (block,) = GUIDE.of(check)
    return machine.bash(f"{begin}\n{after}\n{block}", strict=False)


@pytest.mark.parametrize("check", CHECKS)
def test_each_check_passes_on_a_correct_host(machine: Machine, check: str) -> None:
    run(machine, check)


@pytest.mark.parametrize("check", CHECKS)
def test_each_check_fails_when_its_point_is_undone(machine: Machine, check: str) -> None:
    undo, redo, shown = SPOILT[check]
    try:
        with pytest.raises(CommandFailed) as failed:
            run(machine, check, after=undo)
        assert shown in failed.value.output
    finally:
        machine.shell(redo)
        machine.wait_running()
        wait_until(machine.healthy, 30, "Daphne healthy")
