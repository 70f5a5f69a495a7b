"""A machine: a container with only Debian, on which the tests follow the guide. It contains no image of
ours.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from docker.models.containers import Container

from harness.compose import SOURCE
from harness.engine import OWNER_LABEL, PREFIX, engine, run_id
from harness.people import People
from harness.psql import psql
from harness.service import Result
from harness.stack import free_port, version_of
from harness.waiting import wait_until

from .guide import Guide, with_values

HOME = "/opt/sluice"
PROGRAMS = {
    "wsgi": "gunicorn",
    "asgi": "daphne",
    "worker": "channels-worker",
    "celery": "celery",
    "beat": "beat",
}
_SERVICES = ("postgresql", "rabbitmq-server", "supervisor", "nginx")
_numbers = itertools.count(1)
_PORTS = {"nginx": 80, "wsgi": 8000, "asgi": 8001}
_NOT_COPIED = re.compile(r"\./(\.git|\.env|results|var)(/|$)|.*/__pycache__(/|$)")
# Allow packages to start their services, as on a machine with an init system.
_POLICY = "printf '#!/bin/sh\\nexit 0\\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d"


class CommandFailed(AssertionError):
    """A block of Bash exited with a status other than 0. `output`: its output."""

    def __init__(self, block: str, done: Result) -> None:
        super().__init__(f"status {done.code} of\n{block}\n{done.output[-5000:]}")
        self.output = done.output


class Machine(People):
    """One host with a site.

    `suite` is Debian's: bookworm (12) or trixie (13). `image`: a copy of another machine's disk, which needs
    power_on() instead of boot(). `secure`: the published port is 443, with https.
    """

    def __init__(self, suite: str, prefix: str = "", *, image: str = "", secure: bool = False) -> None:
        super().__init__()
        self.image = image or f"sluice-plain:{suite}"
        self.suite = suite
        self.prefix = prefix
        self.asgi_prefixes: tuple[str, ...] = ("/channels/",)
        self.secure = secure
        self.port = free_port()
        self.name = f"{PREFIX}-{run_id()}-{suite}-{next(_numbers)}"
        self.guide = Guide.read("bare-metal.md")
        self.container = self._create()

    def _create(self) -> Container:
        return engine().containers.run(self.image, detach=True, **self._options())

    def _options(self) -> dict[str, Any]:
        """Options of its container."""
        return {
            "command": ["sleep", "infinity"],
            "name": self.name,
            "hostname": self.suite,
            "init": True,
            "cap_add": ["SYS_PTRACE"],  # a host's root sees the host's processes
            "ports": {"443/tcp" if self.secure else "80/tcp": ("127.0.0.1", self.port)},
            "environment": {
                "DEBIAN_FRONTEND": "noninteractive",
                "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt",
                "LANG": "C.UTF-8",
            },
            "labels": {OWNER_LABEL: f"{PREFIX}-{run_id()}-machine"},
        }

    def boot(self) -> Machine:
        """Prepare it like a machine at its first start, with a checkout in /opt/sluice and nothing else."""
        self._copy(_archive(SOURCE, "opt/sluice"), "/")
        self.shell(_POLICY)
        # An installed Debian has procps, a debootstrapped one hasn't. The tests need it.
        self.shell("apt-get update -qq; apt-get install -qq --no-install-recommends procps >/dev/null 2>&1")
        authorities = os.environ.get("CA_CERTIFICATES", "")
        if authorities:
            self._copy(_archive(Path(authorities), "usr/local/share/ca-certificates"), "/")
            self.shell("update-ca-certificates >/dev/null 2>&1")
        return self

    def picture(self, name: str) -> str:
        """Create an image of its disk, which is removed with the run. `name` contains only letters."""
        repository = f"sluice-{name}"
        self.container.commit(repository=repository, tag=f"e2e-{run_id()}")
        return f"{repository}:e2e-{run_id()}"

    def power_on(self) -> Machine:
        """Start all installed services, as after a power cut."""
        there = " ".join(_SERVICES)
        self.shell(
            "find /run -name '*.pid' -delete\n"
            f"for service in {there}; do [[ ! -e /etc/init.d/$service ]] || service $service start; done"
        )
        return self

    def close(self) -> None:
        """Remove it, unless SLUICE_KEEP is set."""
        if os.environ.get("SLUICE_KEEP") != "yes":
            self.container.remove(force=True, v=True)

    # ---- the guide

    def follow(self, *titles: str, times: int = 1) -> str:
        """Run all blocks below these headings of the guide, and return their output.

        Each block runs as root in its own session, `times` times in a row.
        """
        output = ""
        for title in titles:
            for block in self.guide.of(title):
                for _ in range(times):
                    output += self.bash(self.begin + block)
        return output

    @property
    def begin(self) -> str:
        """The guide's first block, with this machine's values."""
        (first,) = self.guide.of("Your values")
        return with_values(first, site=self.origin, prefix=self.prefix)

    def expose_backends(self) -> None:
        """Set EXPOSE_BACKEND=yes in both places."""
        self.shell(
            "echo EXPOSE_BACKEND=yes >>/etc/sluice/sluice.env;"
            "sed -i '/sluice_expose_backend/s/default no/default yes/' /etc/nginx/conf.d/sluice-place.conf"
        )

    def lead_to_daphne(self, *asgi_prefixes: str) -> None:
        """Add ASGI prefixes to /channels/ in nginx's place file."""
        self.asgi_prefixes = ("/channels/", *asgi_prefixes)
        self.shell(
            f'sed -i \'/sluice_asgi_prefixes /s|"[^"]*";|"{" ".join(self.asgi_prefixes)}";|\''
            " /etc/nginx/conf.d/sluice-place.conf"
        )

    # ---- its description

    @property
    def scheme(self) -> str:
        return "https" if self.secure else "http"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://localhost:{self.port}"

    @property
    def url(self) -> str:  # type: ignore[override]
        return self.origin + self.prefix

    @functools.cached_property
    def nginx_version(self) -> tuple[int, ...]:
        return version_of(self.shell("nginx -v"))

    @functools.cached_property
    def address(self) -> str:
        """Its address on the engine's bridge."""
        self.container.reload()
        address: str = self.container.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        return address

    # ---- operations

    def exec(self, *command: str, user: str = "", env: Mapping[str, str] | None = None) -> Result:
        """Run a command in /opt/sluice. The output includes standard error."""
        ended = self.container.exec_run(list(command), user=user, environment=dict(env or {}), workdir=HOME)
        assert isinstance(ended.output, bytes) and ended.exit_code is not None
        return Result(ended.exit_code, ended.output.decode(errors="replace"))

    def shell(self, code: str) -> str:
        """Run a line of Bash as root, and return its output. Raises CommandFailed if it fails."""
        return self.bash(code)

    def bash(self, block: str, deadline: int = 400, *, strict: bool = True) -> str:
        """Run a block of Bash as root and return its output. Raises CommandFailed if one of its commands
        fails.

        If not `strict`, only the last command's status counts, as for a block that is pasted into a shell.
        """
        options = ("-e", "-u", "-o", "pipefail") if strict else ()
        done = self.exec("timeout", str(deadline), "bash", *options, "-c", block)
        if done.code:
            raise CommandFailed(block, done)
        return done.output

    def write(self, path: str, text: str, *, append: bool = False) -> None:
        """Write a file, or append to it."""
        done = self.exec(
            "bash",
            "-c",
            f'printf %s "$TEXT" {">>" if append else ">"}"$1"',
            "write",
            path,
            env={"TEXT": text},
        )
        assert done.code == 0, done.output

    def manage(self, code: str, service: str = "wsgi") -> str:
        """Run Python inside the project, with the account and environment of that service's program."""
        done = self.exec(
            "venv/bin/python",
            "app/manage.py",
            "shell",
            "--verbosity",
            "0",
            "-c",
            code,
            user="www-data",
            env={"SLUICE_PROGRAM": PROGRAMS[service]},
        )
        assert done.code == 0, f"manage.py shell as {service}: {done.output}"
        return done.output

    def psql(self, query: str, *, parameters: Mapping[str, str] | None = None) -> list[list[str]]:
        command = ("runuser", "--user", "postgres", "--", "psql")
        return psql(self.exec, query, parameters, command=command)

    def ask_directly(self, who: str, request: str) -> bytes:
        script = f'exec 3<>/dev/tcp/127.0.0.1/{_PORTS[who]}; printf %s "$REQUEST" >&3; timeout 5 cat <&3'
        return self.exec("bash", "-c", script, env={"REQUEST": request}).output.encode()

    def upstream(self, side: str) -> str:
        return f"127.0.0.1:{_PORTS[side]}"

    def log_of(self, who: str) -> str:
        log = (
            f"/var/log/sluice/{PROGRAMS[who]}.log" if who in PROGRAMS else "/var/log/nginx/sluice.access.log"
        )
        return self.exec("cat", log).output

    # ---- its processes

    def states(self) -> dict[str, str]:
        """The state of each of supervisor's processes: RUNNING, STARTING, FATAL, …"""
        lines = self.exec("supervisorctl", "status").output.splitlines()
        return {line.split()[0]: line.split()[1] for line in lines if len(line.split()) > 1}

    def wait_running(self, deadline: float = 60) -> None:
        """Wait until supervisor runs all of them."""
        wait_until(
            lambda: (states := self.states()) and set(states.values()) == {"RUNNING"},
            deadline,
            f"all programs RUNNING on {self.name}",
            fatal=lambda: next(
                (f"{name} is FATAL" for name, s in self.states().items() if s == "FATAL"), None
            ),
            every=0.5,
        )

    def healthy(self) -> bool:
        """Whether Daphne's health check passes."""
        done = self.exec(
            "curl", "--silent", "--fail", "--header", "Host: localhost",
            f"http://127.0.0.1{self.prefix}/channels/healthz",
        )  # fmt: skip
        return done.code == 0

    def evidence(self) -> str:
        """Evidence for a test that failed on it."""
        return self.exec(
            "bash", "-c",
            "supervisorctl status; ps axo pid,user,args; tail -n 40 /var/log/sluice/* /var/log/nginx/*",
        ).output  # fmt: skip

    def _copy(self, archive: bytes, where: str) -> None:
        assert self.container.put_archive(where, archive)


def _archive(folder: Path, name: str) -> bytes:
    """A tar archive of a folder's files, owned by root, below `name`."""

    def prepared(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if _NOT_COPIED.match("./" + member.name.removeprefix(name).lstrip("/")):
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mode |= 0o755 if member.isdir() or member.mode & 0o100 else 0o644
        return member

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(folder, name, filter=prepared)
    return packed.getvalue()


M = TypeVar("M", bound=Machine)


@contextlib.contextmanager
def looked_into(machine: M) -> Iterator[M]:
    """Remove the machine at the end. After a failure, print its evidence first."""
    try:
        yield machine
    except BaseException:
        print(machine.evidence())
        raise
    finally:
        machine.close()
