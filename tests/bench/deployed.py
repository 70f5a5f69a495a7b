"""A running stack, known by its compose project: what measurements ask of it, by the docker command alone."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.waiting import Hopeless, TimedOut, wait_until

from .client import LoadClient, Person, Place

ASGI_PORT = 8001
ROOT = Path(__file__).resolve().parents[2]
# The settings of a stack whose clients have one address.
OPEN = {"CHANNELS_PER_ADDRESS": "32000", "CHANNELS_PER_ADDRESS_SECOND": "9999", "MAX_CLIENTS": "6000"}

_PROBE = r"""
cgroup=/sys/fs/cgroup
read_file() { local value; read -r value < "$1" 2>/dev/null && printf '%s' "$value"; }
value_of() {
    while read -r name value; do [[ $name == "$1" ]] && printf '%s' "$value" && break; done < "$2"
}
while read -r what; do
    if [[ $what == pss ]]; then
        total=0
        for file in /proc/[0-9]*/smaps_rollup; do
            while read -r name value _; do [[ $name == Pss: ]] && total=$((total + value)); done < "$file"
        done 2>/dev/null
        echo "$total"
    elif [[ -e $cgroup/memory/memory.usage_in_bytes ]]; then
        echo "$(read_file $cgroup/cpuacct/cpuacct.usage)" \
            "$(read_file $cgroup/memory/memory.max_usage_in_bytes)" \
            "$(read_file $cgroup/memory/memory.usage_in_bytes)" \
            "$(value_of rss $cgroup/memory/memory.stat)" \
            "$(value_of oom_kill $cgroup/memory/memory.oom_control)"
    else
        usage=$(value_of usage_usec $cgroup/cpu.stat)
        echo "${usage}000 $(read_file $cgroup/memory.peak) $(read_file $cgroup/memory.current)" \
            "$(value_of anon $cgroup/memory.stat) $(value_of oom_kill $cgroup/memory.events)"
    fi
done
"""

_PEOPLE = """
import json, sys
from importlib import import_module
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.utils import timezone
from sluice_updates.authentication import backend_of
Store = import_module(settings.SESSION_ENGINE).SessionStore
User = get_user_model()
names = [f"bench-{number}" for number in range(COUNT)]
known = set(User.objects.filter(username__startswith="bench-").values_list("username", flat=True))
new = [User(username=name) for name in names if name not in known]
for user in new:
    user.set_unusable_password()
User.objects.bulk_create(new, batch_size=1000)
users = {user.username: user for user in User.objects.filter(username__in=names)}
backend = backend_of(users[names[0]])
store = Store()
until = timezone.now() + timezone.timedelta(days=1)
rows, found = [], []
for name in names:
    user = users[name]
    key = f"bench{user.pk:027d}"
    data = {
        SESSION_KEY: str(user.pk),
        BACKEND_SESSION_KEY: backend,
        HASH_SESSION_KEY: user.get_session_auth_hash(),
    }
    store._session_key = key
    row = store.create_model_instance(data)
    row.expire_date = until
    rows.append(row)
    found.append([f"{settings.SESSION_COOKIE_NAME}={key}", user.pk])
model = Store.get_model_class()
fields = [field.name for field in model._meta.concrete_fields if not field.primary_key]
model.objects.bulk_create(
    rows, batch_size=1000, update_conflicts=True, unique_fields=["session_key"], update_fields=fields
)
print("people", json.dumps(found))
"""

_PUBLISHER = """
import json, sys, time
from django.db import Error, connection, transaction
from sluice_updates import publish
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    begun = time.monotonic_ns() // 1000
    number, failed = order["number"], 0
    for _ in range(order["times"]):
        try:
            with transaction.atomic():
                for stream in order["streams"]:
                    mark = f"#{number}:{time.monotonic_ns() // 1000}#"
                    publish(stream, "bench", {"mark": mark, "pad": "x" * order["size"]})
                    number += number > 0
        except Error:  # PostgreSQL is away; whether it was committed, the table says
            failed += 1
            connection.close()
    answer = {"begun": begun, "ended": time.monotonic_ns() // 1000, "failed": failed}
    print(json.dumps(answer), flush=True)
"""

_HEADS = "SELECT name, head, head_tag FROM sluice_updates_stream WHERE name = 'all' OR name LIKE 'user:%'"


class Failed(Exception):
    """A command for the stack failed."""


def wait(
    condition: Callable[[], object],
    deadline: float,
    what: str,
    *,
    fatal: Callable[[], str | None] = lambda: None,
    every: float = 0.1,
) -> None:
    """`wait_until`, but raises Failed: outside of pytest, a measurement that is not ready is no assertion."""
    try:
        wait_until(condition, deadline, what, fatal=fatal, every=every)
    except (TimedOut, Hopeless) as error:
        raise Failed(str(error)) from None


def wait_listening(address: str, port: int, deadline: float, what: str) -> None:
    """Wait until a server accepts connections there."""
    wait(lambda: listens(address, port), deadline, f"{what} at {address}:{port}", every=0.05)


def listens(address: str, port: int) -> bool:
    """Whether a server accepts connections there."""
    connection = http.client.HTTPConnection(address, port, timeout=1)
    with contextlib.closing(connection), contextlib.suppress(OSError):
        connection.connect()
        return True
    return False


def wait_live(client: LoadClient, deadline: float) -> dict[str, Any]:
    """Wait until all clients are live, and return the status."""
    status: dict[str, Any] = {}

    def all_live() -> bool:
        nonlocal status
        status = client.ask("status")
        return status["states"].get("live", 0) == client.count

    def turned_away() -> str | None:
        stopped = status["states"].get("stopped")
        return f"{stopped} clients were told to stay away: {status}" if stopped else None

    wait(all_live, deadline, f"{client.count} live clients", fatal=turned_away)
    return status


def run(*command: str, given: str | None = None, deadline: float = 120) -> str:
    """The standard output of a command."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=deadline)
    if done.returncode:
        raise Failed(f"{' '.join(command[:6])} …: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


@dataclass(frozen=True)
class Usage:
    """What a container has used."""

    cpu: float  # seconds
    peak: int  # bytes, the most since it was started, caches included
    now: int  # bytes, caches included
    anonymous: int  # bytes, without caches
    killed: int  # processes that the kernel has killed because its memory was full


class Probe:
    """A shell in a container that reads its cgroup, at the price of a few file reads."""

    def __init__(self, container: str) -> None:
        self.container = container
        self._process = subprocess.Popen(
            ["docker", "exec", "--interactive", container, "bash", "-c", _PROBE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def usage(self) -> Usage | None:
        """What it has used up to now; None if the container is not running."""
        words = self._ask("usage").split()
        return Usage(int(words[0]) / 1e9, *map(int, words[1:])) if len(words) == 5 else None

    def pss(self) -> int:
        """The memory of all processes, in bytes, where shared pages count once (PSS)."""
        return int(self._ask("pss")) * 1024

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()  # closes the pipes, also one that holds a question

    def _ask(self, what: str) -> str:
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(f"{what}\n")
            self._process.stdin.flush()
            return self._process.stdout.readline()
        except OSError:
            return ""


class Deployed:
    """The stack of one compose project."""

    def __init__(self, project: str) -> None:
        self.project = project
        self._people: list[tuple[str, int]] = []

    def containers(self, service: str) -> list[str]:
        """Ids of its containers that exist."""
        label = "label=com.docker.compose"
        found = run(
            "docker", "ps", "--all", "--quiet", "--no-trunc",
            "--filter", f"{label}.project={self.project}", "--filter", f"{label}.service={service}",
        ).split()  # fmt: skip
        if not found:
            raise Failed(f"project {self.project} has no container of {service}: is the stack up?")
        return found

    def inspect(self, container: str) -> dict[str, Any]:
        """What the engine knows of a container."""
        return json.loads(run("docker", "inspect", container))[0]

    def addresses(self, service: str) -> list[str]:
        """Where its running containers are, in the network of the backends."""
        known = [self.inspect(one)["NetworkSettings"]["Networks"] for one in self.containers(service)]
        found = [networks.get(self.network("asgi"), {}).get("IPAddress", "") for networks in known]
        return [address for address in found if address]

    def environment(self, service: str) -> dict[str, str]:
        """The variables that its container was made with."""
        pairs = self.inspect(self.containers(service)[0])["Config"]["Env"]
        return dict(pair.split("=", 1) for pair in pairs)

    def network(self, way: str = "nginx") -> str:
        """The network in which `nginx` or `asgi` is reached."""
        return f"{self.project}_{'front' if way == 'nginx' else 'web'}"

    def place(
        self, way: str = "nginx", *, tls: bool = False, transport: str = "websocket", polls: bool = False
    ) -> Place:
        """Where clients connect: `nginx`, or `asgi` for Daphne itself. By the container's own address: the
        published port leads through a proxy of Docker's. `polls`: they poll while they have no connection.
        """
        networks = self.inspect(self.containers(way)[0])["NetworkSettings"]["Networks"]
        address = networks[self.network(way)]["IPAddress"]
        environment = self.environment("nginx")
        site = environment["SITE_URL"].rstrip("/")
        port = ASGI_PORT if way == "asgi" else 18080 if tls else 8080
        prefix = "" if way == "asgi" else environment["URL_PREFIX"]
        return Place(
            address,
            port,
            host=site.partition("://")[2],
            origin=site,
            path=f"{prefix}/channels/updates/{'sse' if transport == 'sse' else ''}",
            tls=tls,
            transport=transport,
            poll_path=f"{prefix}/updates/" if polls else "",
        )

    def shell(self, code: str, service: str = "wsgi") -> str:
        """Run Python in the project, as the service would."""
        container = self.containers(service)[0]
        command = ("docker", "exec", "--interactive", container, "python", "manage.py", "shell")
        return run(*command, "--verbosity", "0", "-c", code)

    def people(self, count: int, streams: int = 2) -> list[Person]:
        """So many users, each with a session of its own; made in the database unless they are there. Each
        follows `all`, its own stream, and streams that nobody publishes to.
        """
        if len(self._people) < count:
            output = self.shell(f"COUNT = {count}\n{_PEOPLE}")
            (line,) = (line for line in output.splitlines() if line.startswith("people "))
            self._people = json.loads(line.removeprefix("people "))
        return [
            Person(
                cookie, ("all", f"user:{pk}", *(f"project:{pk}-{n}" for n in range(streams - 2)))[:streams]
            )
            for cookie, pk in self._people[:count]
        ]

    def heads(self) -> dict[str, str]:
        """The position of each stream's head, from the database."""
        postgres = self.containers("postgres")[0]
        command = ("docker", "exec", postgres, "psql", "--username=postgres", "--dbname=sluice", "-AtF", " ")
        rows = (line.split() for line in run(*command, "-c", _HEADS).splitlines())
        return {name: f"{head}-{tag}" for name, head, tag in rows}

    def wait_healthy(self, service: str, deadline: float) -> None:
        """Wait until all containers of a service are healthy."""
        containers = self.containers(service)

        def healthy() -> bool:
            states = [self.inspect(one)["State"].get("Health", {}).get("Status") for one in containers]
            return set(states) == {"healthy"}

        wait(healthy, deadline, f"a healthy {service}", every=0.5)

    def publisher(self) -> Publisher:
        """A process of the site that publishes what it is told to."""
        return Publisher(self.containers("wsgi")[0])


class Development(Deployed):
    """The site as `make dev` runs it: one process serves everything, on SQLite. Others publish."""

    def containers(self, service: str) -> list[str]:
        """The one container."""
        return [self.project]

    def place(
        self, way: str = "asgi", *, tls: bool = False, transport: str = "websocket", polls: bool = False
    ) -> Place:
        """Where clients connect, by a WebSocket."""
        networks = self.inspect(self.project)["NetworkSettings"]["Networks"]
        address = networks["bridge"]["IPAddress"]
        return Place(address, 8001)


@contextlib.contextmanager
def development(tag: str, name: str) -> Iterator[Development]:
    """A container that runs the site as `make dev` does."""
    container = f"{name}-development"
    variables = {
        "DEBUG": "yes",
        "DATABASE_URL": "sqlite:////tmp/sluice.sqlite3",
        "SITE_URL": "http://localhost",
    }
    options = [part for key, value in variables.items() for part in ("--env", f"{key}={value}")]
    serve = (
        "python manage.py migrate --verbosity 0 && exec python manage.py runserver --noreload 0.0.0.0:8001"
    )
    run(
        "docker", "run", "--detach", "--name", container, "--label", f"sluice.test.run={name}",
        "--cpus", "1", *options, "--entrypoint", "bash", f"sluice-asgi:{tag}", "-c", serve,
    )  # fmt: skip
    try:
        found = Development(container)
        wait_listening(found.place().address, 8001, 60, "the development server")
        yield found
    finally:
        run("docker", "rm", "--force", "--volumes", container)


class Publisher:
    """Publishes from inside the container wsgi, one transaction for each order."""

    def __init__(self, container: str) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            ["docker", "exec", "--interactive", container, "python", "manage.py", "shell", "--verbosity", "0",
             "-c", _PUBLISHER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self._read()

    def publish(
        self, streams: Sequence[str], *, number: int = 0, times: int = 1, size: int = 200
    ) -> dict[str, int]:
        """Publish to these streams, `times` transactions in a row; messages are numbered from `number`.
        Returns when it began and when the last commit was done (CLOCK_MONOTONIC, µs), and how many failed.
        """
        order = {"streams": list(streams), "number": number, "times": times, "size": size}
        with self._lock:
            assert self._process.stdin
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return json.loads(self._read())

    def close(self) -> None:
        """End it: its sender has 250 ms for what waits."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)

    def _read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise Failed("the publisher in wsgi has ended: see its message above")
        return line


def monotonic_us() -> int:
    """CLOCK_MONOTONIC, which all containers of a machine share."""
    return time.monotonic_ns() // 1000
