"""Real servers for unit tests, from the test image's Debian packages, on the loopback and with their own
temporary folders.

Tests can stop, pause (SIGSTOP: connections stay open, nothing responds) and restart both, on the same port
with the same data.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from .tls import Authority
from .waiting import wait_until

_PACKAGED_POSTGRES = "/usr/lib/postgresql/*/bin"
_CREATE_DATABASE = """
    SELECT 'CREATE DATABASE sluice' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'sluice')
    \\gexec
"""
_PACKAGED_RABBITMQ = Path("/usr/lib/rabbitmq/bin")


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def postgres_binaries() -> Path | None:
    """The folder of the programs of PostgreSQL, or None if it is not installed.

    The newest version, or that which SLUICE_POSTGRES names (`make package-versions`).
    """
    wanted = os.environ.get("SLUICE_POSTGRES")
    found = [path for path in _all_postgres_binaries() if wanted in (None, "", path.parent.name)]
    assert found or not wanted, f"there is no PostgreSQL {wanted} here"
    return found[-1] if found else None


def _all_postgres_binaries() -> list[Path]:
    """The newest version last."""
    found = Path("/").glob(_PACKAGED_POSTGRES.lstrip("/"))
    return sorted(found, key=lambda path: int(path.parent.name))


class _Server:
    """A process tree. As root we run it as a system user, because neither server runs as root."""

    user = "nobody"

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"sluice-{type(self).__name__.lower()}-"))
        if os.getuid() == 0:
            shutil.chown(self.folder, self.user, self.user)
        self._process: subprocess.Popen[bytes] | None = None

    def _as_user(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self._command(*command),
            env=os.environ | environment,
            cwd=self.folder,
            text=True,
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def _command(self, *command: str) -> list[str]:
        return (
            ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--init-groups", *command]
            if os.getuid() == 0
            else [*command]
        )

    def _launch(self, *command: str, **environment: str) -> None:
        log = (self.folder / "server.log").open("ab")
        self._process = subprocess.Popen(
            self._command(*command),
            env=os.environ | environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def _wait_for(self, ready: object, what: str) -> None:
        assert callable(ready)
        wait_until(ready, 60, what, fatal=self._death)

    def _death(self) -> str | None:
        assert self._process is not None
        if self._process.poll() is None:
            return None
        return f"it ended with {self._process.returncode}: {(self.folder / 'server.log').read_text()[-2000:]}"

    def _processes(self) -> list[int]:
        """The process and all its descendants. PostgreSQL's children have their own sessions."""
        assert self._process is not None
        listed = subprocess.run(
            ["ps", "-A", "-o", "ppid=,pid="], capture_output=True, text=True, check=True
        ).stdout
        children: dict[int, list[int]] = {}
        for parent, child in (map(int, line.split()) for line in listed.splitlines()):
            children.setdefault(parent, []).append(child)
        found = [self._process.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def _signal_all(self, number: int) -> None:
        for pid in self._processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def pause(self) -> None:
        """Stop every process (SIGSTOP), and return when all their threads have stopped."""
        self._signal_all(signal.SIGSTOP)
        wait_until(lambda: self._thread_states() <= {"T", "Z"}, 10, "every thread to stop", every=0.01)

    def _thread_states(self) -> set[str]:
        """The states of all its threads, as letters of proc(5)."""
        states = set()
        for pid in self._processes():
            for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
                try:
                    states.add(stat.read_text().rpartition(")")[2].split()[0])
                except (FileNotFoundError, ProcessLookupError):
                    continue
        return states

    def resume(self) -> None:
        """Undo `pause`."""
        self._signal_all(signal.SIGCONT)

    def kill(self) -> None:
        """Send SIGKILL to all processes."""
        self._signal_all(signal.SIGKILL)
        self._reap()

    def close(self) -> None:
        """Kill it and remove its data."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait(60)
            self._process = None


class Postgres(_Server):
    """A PostgreSQL with the superuser `owner`, an empty database `sluice`, and trust authentication."""

    user = "postgres"
    fsync = "off"  # tests don't lose power

    @property
    def url(self) -> str:
        """The address in DATABASE_URL's form."""
        return f"postgresql://owner@127.0.0.1:{self.port}/sluice"

    def start(self, **settings: object) -> Postgres:
        """Start it and return when it accepts connections. The first start creates a cluster. `settings` are
        added to ours.
        """
        self.launch(**settings)
        self._wait_for(lambda: self.ready() == 0, "PostgreSQL")
        command = ("psql", "--quiet", "--host=127.0.0.1", f"--port={self.port}", "--username=owner")
        self._run(*command, "--dbname=postgres", input=_CREATE_DATABASE, check=True)
        return self

    def launch(self, **settings: object) -> None:
        """Start it and return at once."""
        data = self.folder / "data"
        if not data.exists():
            self._as_user(
                self._program("initdb"),
                f"--pgdata={data}",
                "--username=owner",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
                "--no-instructions",
            )
        given: dict[str, object] = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "fsync": self.fsync,
        }
        options = [part for name, value in (given | settings).items() for part in ("-c", f"{name}={value}")]
        self._launch(self._program("postgres"), "-D", str(data), *options)

    def ready(self) -> int:
        """The exit status of pg_isready: 0, accepts connections; 1, rejects them; 2, no response."""
        return self._run("pg_isready", "--quiet", "--host=127.0.0.1", f"--port={self.port}").returncode

    def stop(self) -> None:
        """Stop it in fast mode, as an operator does: it closes connections and writes its data."""
        self.signal(signal.SIGINT)
        self._reap()

    def signal(self, number: int) -> None:
        """Signal its first process. PostgreSQL's manual defines the effects (Shutting Down the Server)."""
        assert self._process is not None
        os.kill(self._process.pid, number)

    def _run(self, program: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self._program(program), *arguments], text=True, **options)

    def _program(self, name: str) -> str:
        binaries = postgres_binaries()
        assert binaries, (
            "no PostgreSQL is installed here: use `make test`, which runs in an image that has one"
        )
        # Some sources of an older version have the server's programs only. Any version's client will do.
        folders = [binaries, *reversed(_all_postgres_binaries())]
        return str(next(folder / name for folder in folders if (folder / name).exists()))


class PgBouncer(_Server):
    """A PgBouncer in front of a PostgreSQL, in the pool mode `session` or `transaction`."""

    user = "postgres"

    def __init__(self, postgres: Postgres, mode: str) -> None:
        super().__init__()
        self._postgres = postgres
        self.mode = mode

    def url(self, database: str) -> str:
        """A database's address in DATABASE_URL's form, through this pooler."""
        return f"postgresql://owner@127.0.0.1:{self.port}/{database}"

    def start(self) -> PgBouncer:
        """Start it and return when it accepts connections."""
        configuration = self.folder / "pgbouncer.ini"
        configuration.write_text(
            f"[databases]\n* = host=127.0.0.1 port={self._postgres.port} user=owner\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = any\npool_mode = {self.mode}\n"
        )
        self._launch("/usr/sbin/pgbouncer", str(configuration))
        self._wait_for(self._listens, "PgBouncer")
        return self

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class RabbitMQ(_Server):
    """A RabbitMQ with its default vhost and guest account, reachable from the loopback only.

    A second port speaks TLS, with a certificate for `localhost` by a private authority (`authority`, a file).
    """

    user = "rabbitmq"

    def __init__(self, port: int | None = None) -> None:
        super().__init__(port)
        self.tls_port = free_port()
        self.authority = Path()

    @property
    def url(self) -> str:
        """The URL of the vhost `/`."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def tls_url(self) -> str:
        """The same vhost's URL, with TLS."""
        return f"amqps://guest:guest@localhost:{self.tls_port}/"

    def start(self) -> RabbitMQ:
        """Start it and return when it accepts connections."""
        if not hasattr(self, "_environment"):
            (self.folder / "rabbitmq.conf").write_text(
                f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.console = true\n{self._tls()}"
            )
            (self.folder / "plugins").write_text("[].\n")
            self._environment = {
                "HOME": str(self.folder),
                "ERL_EPMD_ADDRESS": "127.0.0.1",
                "ERL_EPMD_PORT": str(free_port()),
                "RABBITMQ_CONF_ENV_FILE": "/dev/null",
                "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
                "RABBITMQ_DIST_PORT": str(free_port()),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
                "RABBITMQ_LOG_BASE": str(self.folder),
                "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
                "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            }
        self._launch(str(_PACKAGED_RABBITMQ / "rabbitmq-server"), **self._environment)
        self._wait_for(self._listens, "RabbitMQ")
        return self

    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl` and return its output."""
        return self._as_user(
            str(_PACKAGED_RABBITMQ / "rabbitmqctl"), "--quiet", *arguments, **self._environment
        ).stdout

    def shell(self, script: str) -> str:
        """Run a Bash script that may call `rabbitmqctl` and the other tools, and return its output."""
        path = f"{_PACKAGED_RABBITMQ}:{os.environ['PATH']}"
        return subprocess.run(
            self._command("bash", "-c", script),
            env=os.environ | self._environment | {"PATH": path},
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        ).stdout

    def stop(self) -> None:
        """Shut it down in order."""
        self.ctl("shutdown")
        self._reap()

    def _tls(self) -> str:
        """The TLS part of the configuration, with a new certificate."""
        authority = Authority(self.folder / "tls")
        self.authority = authority.certificate
        pair = authority.issue("localhost")
        if os.getuid() == 0:
            shutil.chown(pair.key, self.user, self.user)
        return (
            f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}\n"
            f"ssl_options.certfile = {pair.certificate}\n"
            f"ssl_options.keyfile = {pair.key}\n"
        )

    def _listens(self) -> bool:
        for port in (self.port, self.tls_port):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) != 0:
                    return False
        return True
