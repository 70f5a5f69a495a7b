"""docs/reference/symptoms.md on a host that was set up by the guide: its commands find the right files."""

from __future__ import annotations

import pytest

from bare_metal.machine import Machine
from harness.symptoms import Places, Shell, assert_proved, assert_refuted
from harness.waiting import wait_until

MANAGE = {"manage.py": "env SLUICE_PROGRAM=daphne venv/bin/python app/manage.py"}
# For each symptom, replacements that make its command test something healthy on this host.
WELL: dict[str, Places] = {
    "502 after 5 s, 104: Connection reset by peer": {},
    "502, 111: Connection refused": {},
    "host not found in upstream": {"NAME": "localhost"},
    "404 from Django": {},
    "400, Invalid HTTP_HOST header": MANAGE | {"sluice.example.org": "localhost", "['localhost']": "[]"},
    "1006 at each restart": {},
    "worker_connections are not enough": {},
    "24: Too many open files": {"10100": "16384"},
    "Pushes from tasks are lost": {"VHOST": "asgi"},
    "Back-pressuring": {},
    "Unhealthy after a restart of RabbitMQ": {},
    "A memory or disk alarm": {},
    "Refusing to initialize channel layer": MANAGE,
    "different event loop": MANAGE,
    "does not support Normal Channels": MANAGE,
    "Apps aren't loaded yet": {"python": "cd app; SLUICE_PROGRAM=daphne ../venv/bin/python"},
}


@pytest.mark.parametrize("heading", WELL)
def test_all_is_well(machine: Machine, heading: str) -> None:
    assert_refuted(heading, WELL[heading], shell=shell_of(machine))


def test_a_daphne_may_open_more_files(machine: Machine) -> None:
    heading = "502 at once, 104: Connection reset by peer"
    least = max(16384, int(machine.shell("ulimit -n")))  # minfds only raises the limit
    assert_refuted(heading, {"1024": str(least)}, shell=shell_of(machine))


def test_a_request_that_is_refused_is_in_the_log(machine: Machine) -> None:
    target = f"http://127.0.0.1{machine.prefix}/channels/updates/"
    ask = f"curl --silent --output /dev/null --header 'Host: %s' {target}"
    machine.shell(ask % "localhost")
    path = {"/channels/updates/ HTTP": f"{machine.prefix}/channels/updates/ HTTP"}
    assert_proved("426, this is a WebSocket", path, shell=shell_of(machine))
    machine.shell(ask % "sluice.example.org")
    assert_proved("421, this server answers for", {}, shell=shell_of(machine))


def test_an_origin_may_or_may_not(machine: Machine) -> None:
    heading, site = "403 to the handshake", f"http://127.0.0.1{machine.prefix}/channels/updates/"
    places = {"http://localhost:8080/channels/updates/": f"--header 'Host: localhost' {site}"}
    assert_proved(heading, places, shell=shell_of(machine))
    own = places | {"https://sluice.example.com": machine.origin}
    assert_refuted(heading, own, shell=shell_of(machine))


def test_rabbitmq_refuses_another_password(machine: Machine) -> None:
    call = 'async_to_sync(get_channel_layer().group_send)("proof", {"type": "proof"})'
    machine.exec(
        "venv/bin/python", "app/manage.py", "shell", "--command",
        f"from asgiref.sync import async_to_sync; from channels.layers import get_channel_layer; {call}",
        env={"SLUICE_PROGRAM": "daphne", "LAYER_PASSWORD_FILE": "/etc/hostname"},
    )  # fmt: skip
    assert_proved(
        "RabbitMQ refused our credentials", {}, shell=shell_of(machine), which="PLAIN login refused"
    )


def test_daphne_is_killed_and_then_away(machine: Machine) -> None:
    shell = shell_of(machine)
    machine.shell("kill -KILL $(supervisorctl pid daphne:daphne_00)")
    assert_proved("502, upstream prematurely closed connection", {}, shell=shell)
    machine.wait_running()
    machine.shell("supervisorctl stop daphne:*")
    try:
        assert not machine.healthy()
        assert_proved("502, 111: Connection refused", {}, shell=shell)
        assert_proved("503, the service isn't there", {}, shell=shell, which="connect() failed")
    finally:
        machine.shell("supervisorctl start daphne:*")
        machine.wait_running()
        wait_until(machine.healthy, 30, "Daphne healthy")


def shell_of(machine: Machine) -> Shell:
    """Bash on the machine, as root in the site's folder."""
    return lambda script: machine.exec("timeout", "120", "bash", "-c", script).output
