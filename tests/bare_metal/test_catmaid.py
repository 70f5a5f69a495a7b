"""The checks of docs/how-to/catmaid.md, as far as they need no CATMAID: Sluice's site stands in its place."""

from __future__ import annotations

import pytest

from bare_metal.guide import Guide, with_values
from bare_metal.machine import CommandFailed, Machine
from harness.waiting import wait_until

GUIDE = Guide.read("catmaid.md")
_, *CHECKS = GUIDE.titles
_CHANNELS = "/etc/nginx/snippets/sluice/channels.conf"
SPOILT = {
    "RabbitMQ's version": ("rabbitmqctl() { echo 3.7.28; }", ""),
    "One vhost": ("vhost=celery", ""),
    "The socket opens": ("supervisorctl stop daphne:*", "supervisorctl start daphne:*"),
    "Nothing else reaches Daphne": (
        f"cp {_CHANNELS} /root; sed -i 's/^.*= 426. {{.*//' {_CHANNELS}; service nginx restart",
        f"cp /root/channels.conf {_CHANNELS}; service nginx restart",
    ),
    "Nobody invents an address or a host": (
        "echo 'proxy_set_header Host $host;' >/etc/nginx/conf.d/spoilt.conf",
        "rm /etc/nginx/conf.d/spoilt.conf",
    ),
    "Daphne listens on the loopback only": ("supervisorctl stop daphne:*", "supervisorctl start daphne:*"),
    "Daphne is supervisor's": ("daphne=catmaid-daphne", ""),
    "Open files": ("files=1000000", ""),
    "The system's limit is the kernel's": (
        "echo 'fs.file-max = 65536' >/etc/sysctl.d/spoilt.conf",
        "rm /etc/sysctl.d/spoilt.conf",
    ),
}
"""What undoes each point, before its check is run, and how that is taken back."""


def run(machine: Machine, check: str, *, after: str = "") -> str:
    (begin,) = GUIDE.of("The checks")
    begin = with_values(
        begin, site="http://localhost", prefix=machine.prefix, vhost="asgi", daphne="daphne:daphne_00"
    )
    (block,) = GUIDE.of(check)
    return machine.bash(f"{begin}\n{after}\n{block}")


@pytest.mark.parametrize("check", CHECKS)
def test_a_check_is_content_with_a_host_that_is_right(machine: Machine, check: str) -> None:
    run(machine, check)


@pytest.mark.parametrize("check", CHECKS)
def test_a_check_sees_its_point_undone(machine: Machine, check: str) -> None:
    undo, redo = SPOILT[check]
    try:
        with pytest.raises(CommandFailed):
            run(machine, check, after=undo)
    finally:
        machine.shell(redo)
        machine.wait_running()
        wait_until(machine.healthy, 30, "Daphne healthy")
