"""Every container, inspected while it runs: its permissions, its cost, its exit."""

from __future__ import annotations

import pytest

from harness.service import Replica
from harness.stack import ONE_SHOTS, SERVICES, Stack

CORES = 2 * 10**9
NONE_UP = "0000000000000000"


@pytest.fixture(params=[*SERVICES, *sorted(ONE_SHOTS)])
def container(stack: Stack, request: pytest.FixtureRequest) -> Replica:
    """Each container, including one-shots."""
    return stack.service(request.param)[0]


def test_it_runs_as_a_numeric_user_that_is_not_root(container: Replica) -> None:
    user, _, group = container.inspect()["Config"]["User"].partition(":")
    assert user.isdigit() and group.isdigit() and int(user) and int(group)


def test_nothing_in_it_runs_as_root_or_with_a_capability(stack: Stack, service: str) -> None:
    script = "cat /proc/[0-9]*/status"
    status = stack.service(service).exec("bash", "-c", script).output
    users = {tuple(line.split()[1:]) for line in status.splitlines() if line.startswith("Uid:")}
    capabilities = {
        line.split()[1] for line in status.splitlines() if line.startswith(("CapPrm", "CapEff", "CapAmb"))
    }
    barred = {line.split()[1] for line in status.splitlines() if line.startswith("NoNewPrivs:")}
    assert len(users) == 1 and "0" not in next(iter(users))
    assert (capabilities, barred) == ({NONE_UP}, {"1"})


def test_its_root_is_read_only_and_privileges_are_dropped(container: Replica) -> None:
    host = container.inspect()["HostConfig"]
    assert host["ReadonlyRootfs"] and not host["Privileged"]
    assert host["CapDrop"] == ["ALL"] and not host["CapAdd"]
    assert "no-new-privileges:true" in host["SecurityOpt"]


def test_it_can_write_only_where_it_is_meant_to(stack: Stack, service: str) -> None:
    script = 'for place; do [[ ! -w $place ]] || echo "$place"; done'
    places = ("/", "/etc", "/usr", "/opt", "/opt/sluice", "/root", "/home", "/var", "/var/lib", "/run")
    assert stack.service(service).exec("bash", "-c", script, "writable", *places).output == ""


def test_memory_processes_and_processor_are_limited(container: Replica) -> None:
    host = container.inspect()["HostConfig"]
    assert 0 < host["Memory"] <= 1 << 30 and 0 < host["PidsLimit"] <= 512 and 0 < host["NanoCpus"] <= CORES


def test_it_uses_less_than_its_memory(stack: Stack, service: str) -> None:
    stats = stack.service(service)[0].stats()
    assert stats["memory_stats"]["usage"] - stats["memory_stats"]["stats"].get("total_inactive_file", 0) < (
        0.8 * stats["memory_stats"]["limit"]
    )


def test_its_log_is_rotated(container: Replica) -> None:
    log = container.inspect()["HostConfig"]["LogConfig"]
    assert log["Type"] == "json-file" and {"max-size", "max-file"} <= set(log["Config"])


def test_only_nginx_publishes_a_port_and_only_on_the_loopback(stack: Stack, container: Replica) -> None:
    published = [
        (binding["HostIp"], int(binding["HostPort"]))
        for bindings in container.inspect()["NetworkSettings"]["Ports"].values()
        for binding in bindings or []
    ]
    assert published == ([("127.0.0.1", stack.port)] if container.service == "nginx" else [])


def test_it_is_restarted_and_watched(stack: Stack, service: str) -> None:
    found = stack.service(service)[0].inspect()
    assert found["HostConfig"]["RestartPolicy"]["Name"] in ("unless-stopped", "always")
    assert found["Config"]["Healthcheck"]["Test"] and found["State"]["Health"]["Status"] == "healthy"


def test_nothing_of_the_host_is_mounted(container: Replica) -> None:
    found = container.inspect()
    assert {mount["Type"] for mount in found["Mounts"]} <= {"volume", "tmpfs"}
    assert (
        not (found["HostConfig"]["PidMode"] or found["HostConfig"]["UTSMode"])
        and found["HostConfig"]["IpcMode"] != "host"
    )


def test_one_shots_ended_well(stack: Stack) -> None:
    assert {name: stack.service(name)[0].state["ExitCode"] for name in ONE_SHOTS} == dict.fromkeys(
        ONE_SHOTS, 0
    )


def test_its_health_check_is_cheap(stack: Stack, service: str) -> None:
    """A check every ten seconds should take at most a tenth of a second. One that starts an interpreter takes
    more.
    """
    log = stack.service(service)[0].check_times()
    assert log and sorted(log)[len(log) // 2] < 0.5, log


def test_up_again_with_nothing_changed_touches_nothing(stack: Stack) -> None:
    before = {
        replica.container.id: replica.state["StartedAt"]
        for name in SERVICES
        for replica in stack.service(name)
    }
    stack.up()
    assert before == {
        replica.container.id: replica.state["StartedAt"]
        for name in SERVICES
        for replica in stack.service(name)
    }
