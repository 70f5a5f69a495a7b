"""RabbitMQ on another machine, by the guide's blocks. Here, the other machine is this one under another
name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from bare_metal.conftest import ELSEWHERE
from bare_metal.delays import AT_ONCE, delays
from bare_metal.machine import PROGRAMS, Machine
from harness.doctor import bad, findings
from harness.volume import sample
from harness.waiting import wait_until

NAME = "mq.example.org"
ANOTHER = "another.example.org"
PAIR = f"/etc/rabbitmq/{NAME}"
SAYS_WHY = re.compile(f"certificate is not (valid )?for '?{NAME}")
BEFORE = f"""
cp /etc/hosts /root/hosts
echo 127.0.0.1 {NAME} >>/etc/hosts
tar --create --file=/root/before.tar /etc/rabbitmq /etc/sluice
"""
AFTERWARDS = f"""
rm --force {PAIR}.* /usr/local/share/ca-certificates/{{{NAME},{ANOTHER}}}.crt
update-ca-certificates
cat /root/hosts >/etc/hosts
tar --extract --directory=/ --file=/root/before.tar
service rabbitmq-server restart
rabbitmqctl await_startup --timeout 60
supervisorctl restart all
"""
HEALTH = """
for _ in {1..60}; do
    said=$(for _ in {1..6}; do curl --silent --show-error --header 'Host: localhost' "$TARGET" 2>&1; done)
    (($(grep --count --fixed-strings "$WHAT" <<<"$said") < 6)) || exit 0
    sleep 0.5
done
echo "$said"
exit 1
"""
BY_THE_LAYER = '"status": "ok", "way": "layer"'
BY_THE_DATABASE = '"status": "degraded", "way": "database"'
REFUSED = f"its certificate is refused (Hostname mismatch, certificate is not valid for '{NAME}'"
CHECKS = (
    *("broker-reachable", "broker-version", "broker-login", "broker-vhost", "broker-permissions"),
    *("broker-alarm", "broker-one-vhost", "broker-consumers", "layer-round-trip"),
)


@pytest.fixture(scope="module")
def machine(followed: tuple[Machine, object]) -> Iterator[Machine]:
    """Its RabbitMQ is reachable by TLS only, and under another name."""
    machine = followed[0]
    there, here = machine.guide.of(ELSEWHERE)
    machine.shell(BEFORE)
    try:
        machine.bash(machine.begin + there)
        _trust(machine)
        machine.bash(machine.begin + here)
        _await_health(machine, BY_THE_LAYER)
        yield machine
    finally:
        machine.shell(AFTERWARDS)
        machine.wait_running()
        _await_health(machine, BY_THE_LAYER)


def test_updates_and_crops_go_by_tls(machine: Machine) -> None:
    assert max(delays(machine, unmeasured=5)) < AT_ONCE
    crop = _order_a_crop(machine)
    wait_until(lambda: _is_cut(machine, crop), 10, "the crop")
    listed = machine.shell("rabbitmqctl --quiet list_connections user ssl --no-table-headers")
    assert set(listed.splitlines()) >= {"layer\ttrue", "publisher\ttrue", "celery\ttrue"}
    assert "false" not in listed


def test_the_doctor_passes(machine: Machine) -> None:
    found = _ask_the_doctor(machine)
    assert bad(found) == []
    assert {one["check"] for one in found if one["verdict"] == "passed"} == set(CHECKS)
    reached = {one["message"] for one in found if one["check"] == "broker-reachable"}
    assert reached == {f"RabbitMQ answers at {NAME}:5671"}


@pytest.mark.timeout(300, func_only=True)
def test_with_a_certificate_for_another_name_the_site_works_and_logs_why_it_is_slow(machine: Machine) -> None:
    machine.shell(f"cp --archive {PAIR}.pem /root/mq.pem; cp --archive {PAIR}.key /root/mq.key")
    try:
        names = f"-subj /CN={ANOTHER} -addext subjectAltName=DNS:{ANOTHER}"
        files = f"-keyout {PAIR}.key -out {PAIR}.pem"
        machine.shell(f"openssl req -x509 -newkey rsa:2048 -nodes {names} {files} 2>&1")
        _trust(machine, ANOTHER)
        _take_up(machine)
        _await_health(machine, REFUSED)
        _await_health(machine, BY_THE_DATABASE)
        assert max(delays(machine, 2)) < 2
        crop = _order_a_crop(machine)

        refused = [one for one in bad(_ask_the_doctor(machine)) if one["check"] == "broker-reachable"]
        assert {f"{NAME}:5671: its certificate is not for {NAME}"} == {one["message"] for one in refused}
        for service in PROGRAMS:
            _await_the_reason(machine, service)
        assert not _is_cut(machine, crop)
    finally:
        machine.shell(f"cp --archive /root/mq.pem {PAIR}.pem; cp --archive /root/mq.key {PAIR}.key")
        _take_up(machine)
    _await_health(machine, BY_THE_LAYER)
    wait_until(lambda: _is_cut(machine, crop), 30, "the crop that waited")


def _trust(machine: Machine, name: str = NAME) -> None:
    """Trust RabbitMQ's present certificate: the guide's scp, and the commands after it."""
    machine.shell(f"cp {PAIR}.pem /usr/local/share/ca-certificates/{name}.crt; update-ca-certificates 2>&1")


def _take_up(machine: Machine) -> None:
    """Make RabbitMQ reload its certificate, by the page's command, and close all connections."""
    take_up = re.search(r"`(rabbitmqctl eval '.*?')`", machine.guide.page.read_text())
    assert take_up
    machine.shell(f"{take_up[1]}; rabbitmqctl close_all_connections --global 'another certificate'")


def _await_health(machine: Machine, what: str) -> None:
    """Wait until the Daphnes report this six times in a row, whichever of them responds."""
    target = f"http://127.0.0.1{machine.prefix}/channels/healthz"
    done = machine.exec("timeout", "60", "bash", "-c", HEALTH, env={"TARGET": target, "WHAT": what})
    assert done.code == 0, f"waiting for {what}: {done.output}"


def _ask_the_doctor(machine: Machine) -> list[dict[str, str]]:
    done = machine.exec(
        "venv/bin/python", "app/manage.py", "doctor", "--inside", "--json", "--only", *CHECKS
    )  # fmt: skip
    return findings(done.output)


def _await_the_reason(machine: Machine, service: str) -> None:
    """Wait until the program's log names the problem with the certificate."""
    wait_until(lambda: SAYS_WHY.search(machine.log_of(service)), 30, f"the reason in the log of {service}")


def _order_a_crop(machine: Machine) -> str:
    volume = sample(machine)
    return str(machine.browser("alice").order_crop(volume.id, volume.box(0, 0, 0))["crop_id"])


def _is_cut(machine: Machine, crop: str) -> bool:
    return bool(machine.browser("alice").get(f"/crops/{crop}/").json()["state"] == "done")
