"""What is wrong inside is recognised: each mistake made on real servers and undone."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from unit.doctor.house import House

from harness.waiting import wait_until
from mysite.doctor import broker

Making = Callable[[House], AbstractContextManager[object]]


@dataclass(frozen=True)
class Mistake:
    """What is made, and what is then said of it: by which check, of whom, and what to change."""

    make: Making
    check: str
    where: str
    says: str
    cure: str
    verdict: str = "failure"
    arguments: tuple[str, ...] = ()


# ---- how mistakes are made


def sql(statement: str, undo: str) -> Making:
    @contextlib.contextmanager
    def make(house: House) -> Iterator[None]:
        house.sql(statement)
        try:
            yield
        finally:
            house.sql(undo)

    return make


def ctl(
    *arguments: str, undo: tuple[str, ...] | None = None, permit: tuple[str, str] | None = None
) -> Making:
    """A `rabbitmqctl`, and what puts it right again."""

    @contextlib.contextmanager
    def make(house: House) -> Iterator[None]:
        house.rabbitmq.ctl(*arguments)
        try:
            yield
        finally:
            if undo:
                house.rabbitmq.ctl(*undo)
            if permit:
                house.permit(*permit)

    return make


def edited(name: str, old: str, new: str) -> Making:
    return lambda house: house.edited(name, old, new)


@contextlib.contextmanager
def crowded(house: House) -> Iterator[None]:
    """Somebody keeps 16 of Daphne's 20 connections."""
    url = f"postgresql://asgi@127.0.0.1:{house.postgres.port}/sluice"
    password = house.secret("db_asgi").read_text()
    with (
        sql("ALTER ROLE asgi CONNECTION LIMIT 20", "ALTER ROLE asgi CONNECTION LIMIT -1")(house),
        contextlib.ExitStack() as held,
    ):
        for _ in range(16):
            held.enter_context(psycopg.connect(url, password=password))
        yield


@contextlib.contextmanager
def trigger_gone(house: House) -> Iterator[None]:
    ((name, definition),) = house.sql(
        "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger"
        " WHERE tgrelid = 'updates_update'::regclass AND tgdeferrable AND NOT tgisinternal"
    )
    with sql(f'DROP TRIGGER "{name}" ON updates_update', definition)(house):
        yield


@contextlib.contextmanager
def hba_refuses(house: House) -> Iterator[None]:
    file = house.postgres.folder / "data/pg_hba.conf"
    text = file.read_text()
    file.write_text(text.replace("all all", "all beat"))
    house.sql("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        file.write_text(text)
        house.sql("SELECT pg_reload_conf()")


@contextlib.contextmanager
def rotated(house: House, secret: str) -> Iterator[None]:
    file = house.secret(secret)
    text = file.read_text()
    file.write_text("w" * 64)
    try:
        yield
    finally:
        file.write_text(text)


@contextlib.contextmanager
def gone(house: House, path: str) -> Iterator[None]:
    file = house.etc / path
    kept = file.rename(file.with_suffix(".kept"))
    try:
        yield
    finally:
        kept.rename(file)


@contextlib.contextmanager
def without_a_queue(house: House) -> Iterator[None]:
    with house.without("celery"):
        house.rabbitmq.ctl("delete_queue", "--vhost", "celery", "celery")
        yield


@contextlib.contextmanager
def nobody_listened(house: House) -> Iterator[None]:
    """The exchange is made by the first layer that connects."""
    house.rabbitmq.ctl("add_vhost", "untouched")
    try:
        house.rabbitmq.ctl("set_permissions", "--vhost", "untouched", "publisher", "^$", "^groups$", "^$")
        with house.edited("sluice.env", f":{house.rabbitmq.port}/asgi", f":{house.rabbitmq.port}/untouched"):
            yield
    finally:
        house.rabbitmq.ctl("delete_vhost", "untouched")


@contextlib.contextmanager
def nginx_conf(old: str, new: str) -> Iterator[None]:
    """Debian's own main file, which this machine's nginx would start with."""
    file = Path("/etc/nginx/nginx.conf")
    text = file.read_text()
    file.write_text(re.sub(old, new, text))
    try:
        yield
    finally:
        file.write_text(text)


@contextlib.contextmanager
def few_files_for_rabbitmq(house: House) -> Iterator[None]:
    """Lowered by its own user, for root may not in a container."""
    listed = subprocess.run(["pgrep", "-f", "beam.smp .*rabbit"], capture_output=True, text=True)
    found = listed.stdout.split()
    assert found
    limits = [Path(f"/proc/{pid}/limits").read_text() for pid in found]
    soft = [int(text.split("Max open files")[1].split()[0]) for text in limits]

    def allow(pid: str, files: int) -> None:
        by = ["setpriv", "--reuid=rabbitmq", "--regid=rabbitmq", "--clear-groups"] if os.getuid() == 0 else []
        subprocess.run([*by, "prlimit", f"--pid={pid}", f"--nofile={files}:"], check=True)

    for pid in found:
        allow(pid, 1024)
    try:
        yield
    finally:
        for pid, files in zip(found, soft, strict=True):
            allow(pid, files)


@contextlib.contextmanager
def as_it_is(house: House) -> Iterator[None]:
    yield


def lock(text: str) -> Making:
    """A line more in the lock file of this host's checkout."""

    @contextlib.contextmanager
    def make(house: House) -> Iterator[None]:
        file = house.app / "requirements.txt"
        before = file.read_text()
        file.write_text(f"{before}\n{text}\n")
        try:
            yield
        finally:
            file.write_text(before)

    return make


NO_RIGHTS = ("^$", "^$", "^$")

SETTINGS = {
    "a misspelt setting": Mistake(
        edited("daphne.env", "LAYER_URL=", "LAYER_ULR="),
        "settings",
        "daphne",
        "did you mean LAYER_URL?",
        "daphne.env",
    ),
    "a malformed one": Mistake(
        edited("celery.env", "amqp://", "http://"), "settings", "celery", "TASKS_URL", "celery.env"
    ),
    "a secret that is missing": Mistake(
        lambda house: gone(house, "secrets/mq_celery"),
        "settings",
        "celery",
        "mq_celery is not there",
        "celery.env",
    ),
    "an empty one": Mistake(
        lambda house: edited("secrets/db_beat", house.secret("db_beat").read_text(), "")(house),
        "settings",
        "beat",
        "is empty",
        "beat.env",
    ),
    "another address": Mistake(
        edited("celery.env", "# Only", "SITE_URL=http://other.example\n#"),
        "settings-address",
        "celery",
        "http://other.example",
        "SITE_URL",
    ),
    "the address that is asked is not the site's": Mistake(
        as_it_is,
        "settings-address",
        "gunicorn",
        "not http://localhost/catmaid",
        "URL_PREFIX",
        arguments=("http://localhost/catmaid/",),
    ),
    "DEBUG": Mistake(
        edited("gunicorn.env", "# Only", "DEBUG=yes\n#"), "settings-debug", "gunicorn", "DEBUG is on", "DEBUG"
    ),
    "another version": Mistake(
        lock("pytest==1.0 \\\n    --hash=sha256:00"),
        "version-packages",
        "requirements.txt",
        "pytest",
        "pip install",
        "warning",
    ),
    "a package that is missing": Mistake(
        lock("nonesuch==1.0 \\\n    --hash=sha256:00"),
        "version-packages",
        "requirements.txt",
        "not installed: nonesuch",
        "pip install",
    ),
}

DATABASE = {
    "a role's password": Mistake(
        lambda house: rotated(house, "db_beat"),
        "database-reachable",
        "beat",
        "is not that of role beat",
        "ALTER ROLE beat PASSWORD",
    ),
    "a role that is missing": Mistake(
        edited("beat.env", "//beat@", "//nobody@"),
        "database-reachable",
        "beat",
        "role nobody",
        "ALTER ROLE nobody",
    ),
    "a database that is missing": Mistake(
        edited("celery.env", "/sluice\n", "/elsewhere\n"),
        "database-reachable",
        "celery",
        "no such database",
        "createdb",
    ),
    "nobody listens": Mistake(
        lambda house: edited("celery.env", f":{house.postgres.port}/", ":1/")(house),
        "database-reachable",
        "celery",
        "nothing listens at 127.0.0.1:1",
        "start PostgreSQL",
    ),
    "a name that doesn't resolve": Mistake(
        lambda house: edited("celery.env", f"@127.0.0.1:{house.postgres.port}", "@nowhere.invalid:1")(house),
        "database-reachable",
        "celery",
        "is not known here",
        "start PostgreSQL",
    ),
    "pg_hba.conf": Mistake(
        hba_refuses, "database-reachable", "daphne", "lets nobody in from here as asgi", "pg_hba.conf"
    ),
    "no right to enter": Mistake(
        sql("REVOKE CONNECT ON DATABASE sluice FROM public", "GRANT CONNECT ON DATABASE sluice TO public"),
        "database-reachable",
        "daphne",
        "may not enter",
        "GRANT CONNECT",
    ),
    "no connection left for a role": Mistake(
        sql("ALTER ROLE worker CONNECTION LIMIT 0", "ALTER ROLE worker CONNECTION LIMIT -1"),
        "database-reachable",
        "channels-worker",
        "has no connection left",
        "CONNECTION LIMIT",
    ),
    "a table that is missing": Mistake(
        sql("ALTER TABLE inbox_message RENAME TO gone", "ALTER TABLE gone RENAME TO inbox_message"),
        "database-tables",
        "",
        "inbox_message",
        "mysite.migrate",
    ),
    "a column that is missing": Mistake(
        sql(
            "ALTER TABLE inbox_message RENAME title TO gone", "ALTER TABLE inbox_message RENAME gone TO title"
        ),
        "database-tables",
        "",
        "inbox_message (title)",
        "mysite.migrate",
    ),
    "the trigger is missing": Mistake(
        trigger_gone, "database-tables", "", "lost its trigger", "mysite.migrate"
    ),
    "a right is missing": Mistake(
        sql("REVOKE SELECT ON updates_update FROM asgi", "GRANT SELECT ON updates_update TO asgi"),
        "database-rights",
        "daphne",
        "role asgi may not SELECT updates_update",
        "mysite.migrate",
    ),
    "a right to a column is missing": Mistake(
        sql(
            "REVOKE INSERT (payload) ON updates_update FROM celery",
            "GRANT INSERT (payload) ON updates_update TO celery",
        ),
        "database-rights",
        "celery",
        "role celery may not INSERT updates_update",
        "mysite.migrate",
    ),
    "a superuser": Mistake(
        sql("ALTER ROLE beat SUPERUSER", "ALTER ROLE beat NOSUPERUSER"),
        "database-rights",
        "beat",
        "is a superuser",
        "NOSUPERUSER",
        "warning",
    ),
    "too few connections for Gunicorn": Mistake(
        edited("gunicorn.env", "WSGI_WORKERS=1", "WSGI_WORKERS=64"),
        "database-connections",
        "gunicorn",
        "Gunicorn may take 320 connections, its role has 100",
        "WSGI_WORKERS",
    ),
    "connections nearly used up": Mistake(
        crowded,
        "database-connections",
        "daphne",
        "of the role's 20 connections are taken",
        "CONNECTION LIMIT",
        "warning",
    ),
    "no time-out": Mistake(
        sql("ALTER ROLE wsgi RESET statement_timeout", "ALTER ROLE wsgi SET statement_timeout = '8s'"),
        "database-time-outs",
        "gunicorn",
        "for ever",
        "ALTER ROLE",
        "warning",
    ),
    "it takes no writes": Mistake(
        sql(
            "ALTER DATABASE sluice SET default_transaction_read_only = on",
            "ALTER DATABASE sluice RESET default_transaction_read_only",
        ),
        "database-durable",
        "",
        "takes no writes",
        "default_transaction_read_only",
    ),
    "SQLite": Mistake(
        lambda house: edited(
            "celery.env", f"postgresql://celery@127.0.0.1:{house.postgres.port}/sluice", "sqlite:///x"
        )(house),
        "database-reachable",
        "celery",
        "SQLite",
        "DATABASE_URL",
        "warning",
    ),
}

BROKER = {
    "an account's password": Mistake(
        lambda house: rotated(house, "mq_layer"),
        "broker-login",
        "daphne, LAYER",
        "refuses user layer",
        "rabbitmqctl change_password layer",
    ),
    "an account that is missing": Mistake(
        edited("beat.env", "//tasks@", "//nobody@"),
        "broker-login",
        "beat, TASKS",
        "refuses user nobody",
        "add_user",
    ),
    "a vhost that is missing": Mistake(
        edited("celery.env", "/celery\n", "/elsewhere\n"),
        "broker-vhost",
        "celery, TASKS",
        "no vhost elsewhere",
        "add_vhost elsewhere",
    ),
    "no permissions in the vhost": Mistake(
        ctl("clear_permissions", "--vhost", "celery", "tasks", permit=("tasks", "celery")),
        "broker-vhost",
        "gunicorn, TASKS",
        "tasks may not enter vhost celery",
        "set_permissions",
    ),
    "the publisher may not write": Mistake(
        ctl("set_permissions", "--vhost", "asgi", "publisher", *NO_RIGHTS, permit=("publisher", "asgi")),
        "broker-permissions",
        "gunicorn, PUBLISHER",
        "lacks a permission in vhost asgi",
        "set_permissions",
    ),
    "the layer may not make queues": Mistake(
        ctl("set_permissions", "--vhost", "asgi", "layer", "^$", ".*", ".*", permit=("layer", "asgi")),
        "broker-permissions",
        "daphne, LAYER",
        "lacks a permission",
        "set_permissions",
    ),
    "the layer may not read": Mistake(
        ctl("set_permissions", "--vhost", "asgi", "layer", ".*", ".*", "^$", permit=("layer", "asgi")),
        "layer-round-trip",
        "daphne, LAYER",
        "lacks a permission",
        "see broker-",
    ),
    "who orders crops may not write": Mistake(
        ctl("set_permissions", "--vhost", "celery", "tasks", *NO_RIGHTS, permit=("tasks", "celery")),
        "broker-permissions",
        "beat, TASKS",
        "lacks a permission in vhost celery",
        "set_permissions",
    ),
    "wake-ups go to Celery's vhost": Mistake(
        edited("sluice.env", "/asgi\n", "/celery\n"),
        "broker-one-vhost",
        "",
        "no wake-up reaches Daphne",
        "PUBLISHER_URL",
    ),
    "nobody ever listened": Mistake(
        nobody_listened,
        "broker-permissions",
        "gunicorn, PUBLISHER",
        "nobody has listened",
        "start Daphne",
        "warning",
    ),
    "no queue for crops": Mistake(
        without_a_queue,
        "broker-permissions",
        "gunicorn, TASKS",
        "no queue celery",
        "Celery worker",
        "warning",
    ),
    "nobody takes crops": Mistake(
        lambda house: house.without("celery"),
        "broker-consumers",
        "",
        "nobody takes crops",
        "Celery worker",
        "warning",
    ),
    "nobody listens at the port": Mistake(
        lambda house: edited("daphne.env", f":{house.rabbitmq.port}/", ":1/")(house),
        "broker-reachable",
        "daphne, LAYER",
        "nothing listens at 127.0.0.1:1",
        "start RabbitMQ, or mend LAYER_URL",
    ),
    "somebody else listens": Mistake(
        lambda house: edited("daphne.env", f":{house.rabbitmq.port}/", f":{house.ports['gunicorn']}/")(house),
        "broker-reachable",
        "daphne, LAYER",
        "127.0.0.1:",
        "RabbitMQ",
    ),
}

LIMITS = {
    "too few files in all": Mistake(
        as_it_is, "kernel-file-max", "", "1000000000 clients", "sysctl", arguments=("--clients", "1000000000")
    ),
    "too few ports": Mistake(
        as_it_is, "kernel-ports", "", "70000 clients", "ip_local_port_range", arguments=("--clients", "70000")
    ),
    "too few connections of nginx": Mistake(
        lambda house: nginx_conf(r"worker_connections \d+", "worker_connections 512"),
        "nginx-connections",
        "",
        "512 connections, 1512 are needed",
        "worker_connections 1512;",
        arguments=("--clients", "500"),
    ),
    "a mistake in nginx's configuration": Mistake(
        lambda house: nginx_conf("worker_connections", "worker_conections"),
        "nginx-connections",
        "",
        'unknown directive "worker_conections"',
        "mend that line",
    ),
    "too few files for RabbitMQ": Mistake(
        few_files_for_rabbitmq,
        "open-files",
        "RabbitMQ",
        "1024 files may be open, 4096 are needed",
        "LimitNOFILE",
    ),
    "too few files for nginx": Mistake(
        as_it_is,
        "open-files",
        "nginx",
        "2000100 are needed for 1000000 clients",
        "worker_rlimit_nofile",
        arguments=("--clients", "1000000"),
    ),
}


def recognised(house: House, front: str, mistake: Mistake) -> None:
    with mistake.make(house):
        said = house.doctor(*mistake.arguments, "--at", front, "--only", mistake.check)
    found = said.of(mistake.check, mistake.where)
    assert (found["verdict"], said.code) == (mistake.verdict, int(mistake.verdict == "failure")), said.output
    assert mistake.says in found["says"] and mistake.cure in found["cure"], found


@pytest.mark.parametrize("mistake", SETTINGS)
def test_it_recognises_in_the_settings(house: House, front: str, mistake: str) -> None:
    recognised(house, front, SETTINGS[mistake])


@pytest.mark.parametrize("mistake", DATABASE)
def test_it_recognises_in_the_database(house: House, front: str, mistake: str) -> None:
    recognised(house, front, DATABASE[mistake])


@pytest.mark.parametrize("mistake", BROKER)
def test_it_recognises_in_the_broker(house: House, front: str, mistake: str) -> None:
    recognised(house, front, BROKER[mistake])


@pytest.mark.parametrize("mistake", LIMITS)
def test_it_recognises_among_the_limits(house: House, front: str, mistake: str) -> None:
    recognised(house, front, LIMITS[mistake])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can ask as another user")
def test_a_secret_that_only_root_can_read(house: House) -> None:
    """Of each program that runs, as the user that it runs as."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder, usual = Path(name), pwd.getpwnam("www-data")
        folder.chmod(0o755)
        for file in house.etc.rglob("*"):
            if file.is_file():
                copy = folder / file.relative_to(house.etc)
                copy.parent.mkdir(exist_ok=True)
                copy.write_text(file.read_text().replace(str(house.etc), str(folder)))
                os.chown(copy, 0, usual.pw_gid)
                copy.chmod(0o640)
        own = {"SLUICE_ENV_FILE": str(folder / "sluice.env")}
        with subprocess.Popen(
            ["sleep", "120"], env=own | {"SLUICE_PROGRAM": "celery"}, user="www-data", group="www-data"
        ) as program:
            try:
                asked = ("--inside", "--only", "settings")
                assert house.doctor(*asked, environment=own).bad == []
                secret = folder / house.secret("db_celery").relative_to(house.etc)
                secret.chmod(0o600)
                said = house.doctor(*asked, environment=own)
            finally:
                program.terminate()
    found = said.of("settings", "celery")
    assert found["says"] == f"{secret} can't be read by www-data"
    assert found["cure"].startswith(f"chgrp www-data {secret}; chmod 0640 {secret}")
    assert [where for _, where, _ in said.bad] == ["celery"]


def test_a_common_setting_that_is_malformed_ends_it_in_a_sentence(house: House) -> None:
    with house.edited("sluice.env", "SITE_URL=http", "SITE_URL=htp"):
        said = house.doctor()
    assert (said.code, said.output) == (78, "")
    assert "SITE_URL=htp" in said.errors and "is malformed" in said.errors


def test_a_first_login_backend_that_knows_no_users(house: House, front: str) -> None:
    """The doctor's own session is by the next one."""
    (house.app / "guarded.py").write_text(
        "from mysite.settings import *\n\nclass OnlyRefuses:\n    pass\n\n"
        'AUTHENTICATION_BACKENDS = ["guarded.OnlyRefuses", "django.contrib.auth.backends.ModelBackend"]\n'
    )
    asked = ("--at", front, "--only", "push-hello")
    said = house.doctor(*asked, environment={"DJANGO_SETTINGS_MODULE": "guarded"})
    assert said.of("push-hello")["verdict"] == "ok", said.output


def test_settings_that_are_set_against_each_other(house: House) -> None:
    (house.app / "careless.py").write_text('from mysite.settings import *\n\nALLOWED_HOSTS = ["*"]\n')
    said = house.doctor(
        "--inside", "--only", "settings-checks", environment={"DJANGO_SETTINGS_MODULE": "careless"}
    )
    assert (said.of("settings-checks")["where"], said.code) == ("updates.W006", 0)


# ---- whole servers


def test_postgresql_is_down_or_stands_still(house: House, front: str) -> None:
    every = ["--only", *(f"database-{name}" for name in ("reachable", "tables", "rights", "durable"))]
    house.postgres.stop()
    try:
        said = house.doctor("--at", front, *every, "push-hello", "front-ready")
    finally:
        house.postgres.start()
    assert "nothing listens at" in said.of("database-reachable", "daphne")["says"]
    assert said.of("front-ready")["says"] == "Gunicorn can't reach its database"
    assert said.of("database-tables")["verdict"] == said.of("push-hello")["verdict"] == "left out"
    house.postgres.pause()
    try:
        said = house.doctor("--inside", *every)
    finally:
        house.postgres.resume()
    assert "does not answer" in said.of("database-reachable", "daphne")["says"]


def test_postgresql_loses_what_it_took_when_the_machine_does(house: House) -> None:
    house.postgres.stop()
    house.postgres.fsync = "off"
    house.postgres.start()
    try:
        found = house.doctor("--inside", "--only", "database-durable").of("database-durable")
    finally:
        house.postgres.stop()
        house.postgres.fsync = "on"
        house.postgres.start()
    assert (found["verdict"], found["says"]) == ("warning", "fsync off: a crash of the machine can damage it")


def test_postgresql_is_a_standby(house: House) -> None:
    house.postgres.stop()
    signal_file = house.postgres.folder / "data/standby.signal"
    signal_file.touch()
    os.chmod(signal_file, 0o666)
    house.postgres.start()
    try:
        found = house.doctor("--inside", "--only", "database-durable").of("database-durable")
    finally:
        house.postgres.stop()
        signal_file.unlink()
        house.postgres.start()
    assert "it is a standby" in found["says"] and "primary" in found["cure"]


def test_rabbitmq_is_down_stands_still_or_is_in_alarm(house: House, front: str) -> None:
    every = ["--only", *broker_checks(), "layer-round-trip", "front-ready"]
    house.rabbitmq.pause()
    try:
        said = house.doctor("--inside", *every)
    finally:
        house.rabbitmq.resume()
    assert "accepts and does not answer" in said.of("broker-reachable", "daphne")["says"]
    assert said.of("layer-round-trip", "daphne")["verdict"] == "failure"
    house.rabbitmq.ctl("set_vm_memory_high_watermark", "0.000001")
    try:
        wait_until(
            lambda: "memory" in house.rabbitmq.ctl("eval", "rabbit_alarm:get_alarms()."),
            20,
            "the alarm",
            every=0.5,
        )
        said = house.doctor("--inside", *every)
    finally:
        house.rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")
    assert "in alarm" in said.of("broker-alarm", "gunicorn")["says"]
    assert "vm_memory_high_watermark" in said.of("broker-alarm", "gunicorn")["cure"]
    assert "in alarm" in said.of("layer-round-trip", "daphne")["says"]
    house.rabbitmq.stop()
    try:
        said = house.doctor("--at", front, *every)
    finally:
        house.rabbitmq.start()
    assert "nothing listens at" in said.of("broker-reachable", "daphne")["says"]
    assert said.of("front-ready")["verdict"] == "warning"
    assert said.of("broker-login")["verdict"] == "left out"


def broker_checks() -> list[str]:
    return [check.name for check in broker.CHECKS]


@pytest.mark.parametrize(("version", "verdict"), [("3.7.28", "failure"), ("3.8.9", "ok"), ("4.3.6", "ok")])
def test_a_rabbitmq_that_is_too_old(version: str, verdict: str) -> None:
    """No Debian has one any more that is; the table of the layer's versions has the others."""
    assert broker._of_version(version, "").verdict == verdict
