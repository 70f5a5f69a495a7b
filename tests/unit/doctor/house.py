"""A host with the whole site, all real: PostgreSQL, RabbitMQ, Gunicorn, Daphne, Celery, nginx.

The programs run from a copy of app/, with the settings of supervisor/host except for ports and folders.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import requests

from config.nginx_lab import SOURCE, Nginx
from harness.servers import Postgres, RabbitMQ, free_port
from harness.waiting import wait_until

_OWN = r"channels_.*|groups|asgi\.normal\..*"
PERMISSIONS = {
    ("layer", "asgi"): [f"^({_OWN})$", rf"^({_OWN}|amq\.default)$", f"^({_OWN})$"],
    ("publisher", "asgi"): ["^$", "^groups$", "^$"],
    ("celery", "celery"): [
        "^celery(_delayed_.*)?$",
        r"^(celery(_delayed_.*)?|amq\.default)$",
        "^celery(_delayed_.*)?$",
    ],
    ("tasks", "celery"): ["^$", r"^(amq\.default|celery_delayed_27)$", "^$"],
}
ROLES = ("wsgi", "asgi", "worker", "celery", "beat")
_HBA = "host all owner 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"


@dataclass
class Said:
    """The result of a run of the doctor, by name of the check."""

    code: int
    output: str
    errors: str
    findings: list[dict[str, str]] = field(default_factory=list)

    def of(self, check: str, where: str = "") -> dict[str, str]:
        """The worst finding of the check, at that place if one is given."""
        found = [one for one in self.findings if one["check"] == check and where in one["where"]]
        assert found, f"no finding of {check} {where}: {self.output}{self.errors}"
        return min(found, key=lambda one: ["failed", "warning", "passed", "skipped"].index(one["verdict"]))

    @property
    def bad(self) -> list[tuple[str, str, str]]:
        return [
            (one["check"], one["where"], one["message"])
            for one in self.findings
            if one["verdict"] in ("failed", "warning")
        ]


class House:
    """The host. `close` stops everything that it started. The broker is not its own."""

    def __init__(self, folder: Path, rabbitmq: RabbitMQ) -> None:
        self.folder = folder
        self.rabbitmq = rabbitmq
        self.postgres = Postgres()
        self.site_url = f"http://localhost:{free_port()}"
        self.ports = {"gunicorn": free_port(), "daphne": free_port()}
        self.programs: dict[str, subprocess.Popen[bytes]] = {}
        self.etc = folder / "etc"
        self.app = folder / "app"

    @property
    def host(self) -> str:
        """The Host header."""
        return self.site_url.removeprefix("http://")

    # ---- its setup

    def build(self) -> House:
        shutil.copytree(SOURCE / "app", self.app, ignore=shutil.ignore_patterns("__pycache__"))
        (self.etc / "secrets").mkdir(parents=True)
        for name in (
            "django_secret_key",
            *(f"db_{role}" for role in ROLES),
            *(f"mq_{user}" for user, _ in PERMISSIONS),
        ):
            self.secret(name).write_text(secrets.token_hex(32))
        for file in (SOURCE / "supervisor/host").glob("*.env"):
            (self.etc / file.name).write_text(self._placed(file.read_text()))
        self._add("gunicorn", WSGI_BIND=f"127.0.0.1:{self.ports['gunicorn']}")
        self._add("daphne", ASGI_BIND=f"127.0.0.1:{self.ports['daphne']}")
        self._prepare_database()
        self._prepare_broker()
        self.python("manage.py", "collectstatic", "--no-input", "--verbosity=0")
        self.python("-m", "sluice_stack.migrate")
        return self

    def _placed(self, text: str) -> str:
        """A settings file with this host's ports and folders."""
        text = text.replace(":5432/", f":{self.postgres.port}/").replace(":5672/", f":{self.rabbitmq.port}/")
        text = text.replace("/etc/sluice/", f"{self.etc}/").replace(
            "SITE_URL=http://localhost", f"SITE_URL={self.site_url}"
        )
        text = re.sub(
            r"^(DATABASE_PASSWORD_FILE=.*/db_owner|ADMIN_PASSWORD_FILE=.*)$", "", text, flags=re.MULTILINE
        )
        if "SECRET_KEY_FILE" in text:
            text += "".join(
                f"{name.upper()}_ROOT={self.folder}/{name}\n" for name in ("media", "volumes", "static")
            )
            text = text.replace(f"STATIC_ROOT={self.folder}/static", f"STATIC_ROOT={self.folder}/published")
        return text

    def _add(self, name: str, **settings: str) -> None:
        with (self.etc / f"{name}.env").open("a") as file:
            file.writelines(f"{key}={value}\n" for key, value in settings.items())

    def _prepare_database(self) -> None:
        self.postgres.fsync = "on"
        self.postgres.start()
        for role in ROLES:
            self.sql(f"CREATE ROLE {role} LOGIN PASSWORD '{self.secret(f'db_{role}').read_text()}'")
        for line in (SOURCE / "images/postgres/roles.sql").read_text().splitlines():
            if re.match(r"ALTER ROLE .* SET ", line):
                self.sql(line.rstrip(";"))
        (self.postgres.folder / "data/pg_hba.conf").write_text(_HBA)
        self.sql("SELECT pg_reload_conf()")

    def _prepare_broker(self) -> None:
        for vhost in ("asgi", "celery"):
            self.rabbitmq.ctl("add_vhost", vhost)
        for user, vhost in PERMISSIONS:
            self.rabbitmq.ctl("add_user", user, self.secret(f"mq_{user}").read_text())
            self.permit(user, vhost)

    def permit(self, user: str, vhost: str) -> None:
        self.rabbitmq.ctl("set_permissions", "--vhost", vhost, user, *PERMISSIONS[user, vhost])

    def close(self) -> None:
        for name in list(self.programs):
            self.stop(name)
        self.postgres.close()

    # ---- its programs

    def environment(self, program: str = "") -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
        return kept | {
            "SLUICE_ENV_FILE": str(self.etc / "sluice.env"),
            **({"SLUICE_PROGRAM": program} if program else {}),
            "PYTHONUNBUFFERED": "1",
        }

    def start(
        self, name: str, *prefix: str, is_well: bool = True, arguments: Sequence[str] = (), **changed: str
    ) -> None:
        """Start Gunicorn, Daphne or Celery's worker, as supervisor does. Return when it responds.

        `prefix` precedes its command, `arguments` follow it. `is_well`: everything that it uses is available.
        """
        commands = {
            "gunicorn": [
                "-m",
                "gunicorn",
                "--config",
                "python:sluice_stack.gunicorn.configuration",
                "mysite.wsgi:application",
            ],
            "daphne": ["-m", "sluice_updates.server", *([] if arguments else ["mysite.asgi:application"])],
            "celery": ["-m", "celery", "--app", "mysite", "worker"],
        }
        with (self.folder / f"{name}.log").open("wb") as log:
            self.programs[name] = subprocess.Popen(
                [*prefix, sys.executable, *commands[name], *arguments],
                cwd=self.app,
                env=self.environment(name) | {"TMPDIR": str(self.folder)} | changed,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: self._answers(name, is_well), 30, name, fatal=lambda: self._death(name))

    def stop(self, name: str) -> None:
        process = self.programs.pop(name)
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        process.wait(30)

    @contextlib.contextmanager
    def restarted(self, name: str, *prefix: str, **changed: Any) -> Iterator[None]:
        """The program restarted during the block with other settings in its environment; see `start`."""
        self.stop(name)
        self.start(name, *prefix, **changed)
        try:
            yield
        finally:
            self.stop(name)
            self.start(name)

    @contextlib.contextmanager
    def paused(self, name: str) -> Iterator[None]:
        """Freeze the program: its connections stay open, and the kernel accepts new ones."""
        children = subprocess.run(
            ["pgrep", "-P", str(self.programs[name].pid)], capture_output=True, text=True
        )
        everybody = [self.programs[name].pid, *map(int, children.stdout.split())]
        try:
            for pid in everybody:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in everybody:
                os.kill(pid, signal.SIGCONT)
            self.recover(name)

    def recover(self, name: str = "daphne") -> None:
        """Wait until the program has reconnected to everything that it uses."""
        wait_until(lambda: self._answers(name, True), 30, name, fatal=lambda: self._death(name))

    @contextlib.contextmanager
    def without(self, name: str) -> Iterator[None]:
        self.stop(name)
        try:
            yield
        finally:
            self.start(name)

    def _answers(self, name: str, is_well: bool) -> bool:
        if name == "celery":
            ready = "ready." in (self.folder / "celery.log").read_text()
            return ready and (not is_well or self._takes_crops())
        path = {"gunicorn": "/healthz", "daphne": "/channels/healthz"}[name]
        with contextlib.suppress(requests.RequestException):
            answer = requests.get(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=5)
            return not is_well or (answer.status_code == 200 and '"degraded"' not in answer.text)
        return False

    def _takes_crops(self) -> bool:
        """Whether Celery's worker is connected. It logs "ready" once, and not after each outage."""
        columns = ("name", "consumers")
        listed = self.rabbitmq.ctl("list_queues", "--no-table-headers", "--vhost", "celery", *columns)
        return bool(re.search(r"^celery\s+[1-9]", listed, re.MULTILINE))

    def _death(self, name: str) -> str | None:
        ended = self.programs[name].poll() is not None
        return (self.folder / f"{name}.log").read_text()[-3000:] if ended else None

    @contextlib.contextmanager
    def front(
        self, folder: Path, change: Callable[[Nginx], None] = lambda nginx: None, **settings: str
    ) -> Iterator[str]:
        """nginx as shipped, changed by `change` before its start. Yields its address."""
        published = self.folder / "published"

        class Front(Nginx):
            def lay_out(self) -> None:
                super().lay_out()
                shutil.copytree(published, self.folder / "files/static", dirs_exist_ok=True)
                change(self)

        addresses = {
            "WSGI_ADDRESS": f"127.0.0.1:{self.ports['gunicorn']}",
            "ASGI_ADDRESS": f"127.0.0.1:{self.ports['daphne']}",
        }
        with Front(folder, addresses | settings) as nginx:
            yield f"127.0.0.1:{nginx.port}"

    # ---- changes to it

    def secret(self, name: str) -> Path:
        return self.etc / "secrets" / name

    def sql(self, statement: str) -> list[Any]:
        """Execute a statement as the superuser, and return its rows, if any."""
        writing = "-c default_transaction_read_only=off"
        with psycopg.connect(self.postgres.url, autocommit=True, options=writing) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def edited(self, name: str, old: str, new: str) -> Iterator[None]:
        """Replace `old` by `new` in a file below etc/ during the block."""
        path = self.etc / name
        text = path.read_text()
        assert old in text, f"{old} is not in {name}"
        path.write_text(text.replace(old, new))
        try:
            yield
        finally:
            path.write_text(text)

    def python(self, *arguments: str) -> str:
        """Run Python in app/ with the common settings. It must succeed."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.app,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextlib.contextmanager
    def doctor_at_work(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """`manage.py doctor` while it runs."""
        with subprocess.Popen(
            [sys.executable, "manage.py", "doctor", *arguments],
            cwd=self.app,
            env=self.environment(),
            stdout=subprocess.PIPE,
            text=True,
        ) as doctor:
            try:
                yield doctor
            finally:
                doctor.kill()

    def doctor(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        as_json: bool = True,
        python: str = sys.executable,
    ) -> Said:
        """Run `manage.py doctor` as root on this host."""
        done = subprocess.run(
            [python, "manage.py", "doctor", *(["--json"] if as_json else []), *arguments],
            cwd=self.app,
            env=self.environment() | dict(environment or {}),
            capture_output=True,
            text=True,
            timeout=150,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        findings = [json.loads(line) for line in done.stdout.splitlines()] if as_json else []
        return Said(done.returncode, done.stdout, done.stderr, findings)
