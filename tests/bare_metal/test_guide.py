"""docs/how-to/bare-metal.md: its reader's observations on the way, and the resulting machine."""

from __future__ import annotations

import re

from bare_metal.conftest import LATER, PUSH, SITE, SYSTEMD, WITHOUT_PUSH, Followed
from bare_metal.delays import AT_ONCE
from bare_metal.machine import Machine
from harness.waiting import wait_until

LOOPBACK = {"127.0.0.1", "::1"}


def test_the_site_works_by_polling_before_anything_asynchronous_is_installed(
    followed: tuple[Machine, Followed],
) -> None:
    _, seen = followed
    assert seen.asynchronous == []
    assert seen.polled == ["by polling"]


def test_crops_are_cut_by_cron_until_push_does_it(followed: tuple[Machine, Followed]) -> None:
    machine, seen = followed
    assert seen.crop.downloads()
    assert machine.exec("test", "-e", "/etc/cron.d/sluice").code == 1


def test_the_guides_own_checks_print_what_it_promises(followed: tuple[Machine, Followed]) -> None:
    _, seen = followed
    assert "<title>" in seen.after_site and "imported MNI ICBM 152" in seen.after_site
    assert re.search(r'"status": "ok"', seen.after_push)
    assert "101 Switching Protocols" in seen.after_push


def test_what_is_sent_arrives_at_once_after_it(followed: tuple[Machine, Followed]) -> None:
    _, seen = followed
    assert max(seen.delays) < AT_ONCE


def test_every_command_of_the_guide_is_run_by_some_test(machine: Machine) -> None:
    assert set(machine.guide.titles) == {"Your values", *SITE, *WITHOUT_PUSH, *PUSH, *SYSTEMD, *LATER}


def test_all_programs_run_and_none_as_root(machine: Machine) -> None:
    assert set(machine.states()) == {
        *("gunicorn:gunicorn_00", "gunicorn:gunicorn_01", "daphne:daphne_00", "daphne:daphne_01"),
        *("sluice:channels-worker", "sluice:celery", "sluice:beat"),
    }
    owners = machine.shell("ps axo user:20,args | grep /opt/sluice/venv | grep --invert-match grep")
    assert {line.split()[0] for line in owners.splitlines()} == {"www-data"}


def test_only_nginx_listens_where_others_can_reach_it(machine: Machine) -> None:
    listening = set()
    for table in ("tcp", "tcp6"):
        for line in machine.shell(f"cat /proc/net/{table}").splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, port = local.split(":")
            if state == "0A" and not address.endswith("0100007F") and address != "0" * 24 + "01000000":
                listening.add(int(port, 16))
    assert listening == {80}


def test_secrets_are_for_root_and_the_programs_only(machine: Machine) -> None:
    found = machine.shell("stat --format='%A %U %G' /etc/sluice/secrets/* /etc/sluice/*.env")
    assert set(found.splitlines()) == {"-rw-r----- root www-data"}
    assert machine.exec("cat", "/etc/sluice/sluice.env", user="nobody").code != 0


def test_each_user_of_the_broker_may_do_what_it_needs_and_no_more(machine: Machine) -> None:
    users = machine.shell("rabbitmqctl --quiet list_users --no-table-headers")
    assert {line.split()[0] for line in users.splitlines()} == {"layer", "publisher", "celery", "tasks"}
    here = {vhost: _permissions(machine, vhost) for vhost in ("asgi", "celery")}
    queues = r"channels_.*|groups|asgi\.normal\..*"
    assert here == {
        "asgi": {
            ("layer", f"^({queues})$", rf"^({queues}|amq\.default)$", f"^({queues})$"),
            ("publisher", "^$", "^groups$", "^$"),
        },
        "celery": {
            (
                "celery",
                "^celery(_delayed_.*)?$",
                r"^(celery(_delayed_.*)?|amq\.default)$",
                "^celery(_delayed_.*)?$",
            ),
            ("tasks", "^$", r"^(amq\.default|celery_delayed_27)$", "^$"),
        },
    }


def test_each_program_has_the_open_files_that_the_place_says(machine: Machine) -> None:
    for name in ("daphne:daphne_00", "gunicorn:gunicorn_01", "sluice:celery"):
        pid = machine.shell(f"supervisorctl pid {name}").strip()
        limits = machine.shell(f"grep 'Max open files' /proc/{pid}/limits").split()
        assert int(limits[3]) >= 16384, name


def test_the_programs_can_not_put_a_file_where_root_opens_logs(machine: Machine) -> None:
    assert machine.shell("stat --format '%U:%G %a' /var/log/sluice") == "root:adm 750\n"
    assert machine.exec("test", "-w", "/var/log/sluice", user="www-data").code == 1
    machine.shell("test -s /var/log/sluice/gunicorn.log")


def test_the_access_log_is_not_world_readable(machine: Machine) -> None:
    assert machine.shell("stat --format '%U:%G %a' /var/log/nginx/sluice.access.log") == "www-data:adm 640\n"
    machine.shell("test -s /var/log/nginx/sluice.access.log")
    assert "/var/log/nginx/" in machine.shell(
        "grep --before-context=1 --max-count=1 daily /etc/logrotate.d/nginx"
    )


def test_the_logs_are_rotated_and_gunicorn_outlives_a_hup(machine: Machine) -> None:
    machine.shell("logrotate --force /etc/logrotate.d/sluice; test -s /var/log/sluice/gunicorn.log.1")
    master = machine.shell("supervisorctl pid gunicorn:gunicorn_00").strip()
    machine.shell(f"kill -HUP {master}")  # Gunicorn reports it in its new log
    wait_until(lambda: "Handling signal: hup" in machine.log_of("wsgi"), 10, "a line in the new log")
    wait_until(lambda: "Booting worker" in machine.log_of("wsgi"), 20, "its new worker")
    assert machine.shell("supervisorctl pid gunicorn:gunicorn_00").strip() == master
    assert "Address already in use" not in machine.log_of("wsgi")


def _permissions(machine: Machine, vhost: str) -> set[tuple[str, ...]]:
    listed = machine.shell(f"rabbitmqctl --quiet list_permissions --vhost {vhost} --no-table-headers")
    return {tuple(line.split("\t")) for line in listed.splitlines()}
