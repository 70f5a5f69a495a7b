"""The units, as the distribution's own systemd understands them."""

from bare_metal.machine import Machine


def test_systemd_has_nothing_to_say_about_the_units(machine: Machine) -> None:
    machine.shell("apt-get install --yes --no-install-recommends systemd >/dev/null 2>&1")
    machine.shell("cp supervisor/systemd/* /etc/systemd/system/")
    units = "sluice.target sluice-gunicorn.socket sluice-gunicorn.service sluice-daphne.socket"
    units += (
        " sluice-daphne@1.service sluice-channels-worker.service sluice-celery.service sluice-beat.service"
    )
    said = machine.shell(f"cd /etc/systemd/system; systemd-analyze verify --man=no {units} 2>&1")
    assert [line for line in said.splitlines() if "sluice" in line] == []
