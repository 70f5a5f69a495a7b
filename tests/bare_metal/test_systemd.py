"""The units as the distribution's own systemd reads them."""

from bare_metal.machine import Machine


def test_systemd_has_no_complaints_about_the_units(machine: Machine) -> None:
    machine.shell("apt-get install --yes --no-install-recommends systemd >/dev/null 2>&1")
    machine.shell("cp systemd/sluice* /etc/systemd/system/")
    units = "sluice.target sluice-channels-worker.service sluice-celery.service sluice-beat.service"
    for program in "gunicorn", "daphne":
        units += f" sluice-{program}.socket sluice-{program}.service sluice-{program}@1.service"
    said = machine.shell(f"cd /etc/systemd/system; systemd-analyze verify --man=no {units} 2>&1")
    assert [line for line in said.splitlines() if "sluice" in line] == []


def test_erlangs_port_mapper_is_opened_on_the_loopback_only(machine: Machine) -> None:
    """The guide's drop-in replaces the addresses of the package's socket unit."""
    machine.shell("apt-get install --yes --no-install-recommends systemd >/dev/null 2>&1")
    said = machine.shell("systemd-analyze verify --man=no epmd.socket 2>&1")
    assert "loopback.conf" not in said
    lines = machine.shell("systemd-analyze cat-config systemd/system/epmd.socket").splitlines()
    listens = [line.partition("=")[2] for line in lines if line.startswith("ListenStream=")]
    assert listens == ["4369", "", "127.0.0.1:4369"]
