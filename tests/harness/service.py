"""One service of a stack and its containers, with every operation that faults consist of."""

from __future__ import annotations

import datetime
import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from docker.models.containers import Container

from .engine import OWNER_LABEL, PREFIX, engine, own_image, run_id
from .waiting import wait_until

if TYPE_CHECKING:
    from .stack import Stack

SERVICE_LABEL = "com.docker.compose.service"
NUMBER_LABEL = "com.docker.compose.container-number"


@dataclass(frozen=True)
class Result:
    """The exit status and output of a command in a container."""

    code: int
    output: str


class Replica:
    """One container. Each call reads its state from the engine again."""

    def __init__(self, stack: Stack, container: Container) -> None:
        self.stack = stack
        self.container = container
        self._cut: dict[str, list[str]] = {}

    @property
    def name(self) -> str:
        return str(self.container.name)

    @property
    def service(self) -> str:
        label: str = self.container.labels[SERVICE_LABEL]
        return label

    def inspect(self) -> dict[str, Any]:
        """All that the engine knows about the container."""
        found: dict[str, Any] = engine().api.inspect_container(str(self.container.id))
        return found

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.inspect()["State"]
        return state

    @property
    def running(self) -> bool:
        return bool(self.state["Running"])

    @property
    def healthy(self) -> bool:
        """Whether it is running, not paused, and healthy if it has a health check."""
        state = self.state
        return bool(
            state["Running"]
            and not state["Paused"]
            and state.get("Health", {}).get("Status", "healthy") == "healthy"
        )

    @property
    def addresses(self) -> dict[str, str]:
        """Address by network. The networks are named as in compose.yaml."""
        networks = self.inspect()["NetworkSettings"]["Networks"]
        return {
            name.removeprefix(f"{self.stack.name}_"): known["IPAddress"] for name, known in networks.items()
        }

    @property
    def grace(self) -> float:
        """Seconds between the stop signal and SIGKILL."""
        return float(self.inspect()["Config"].get("StopTimeout") or 10)

    # ---- operations

    def kill(self, signal: str = "SIGKILL") -> None:
        """Send a signal to process 1 through the engine. The engine does not restart the container after this
        SIGKILL.
        """
        self.container.kill(signal)

    def crash(self) -> None:
        """Kill process 1 without the engine's knowledge, as the kernel does when memory runs out. Return when
        it is gone.

        The engine then restarts the container by its restart policy.
        """
        pid = self.state["Pid"]
        assert pid, f"{self.name} is not running"
        engine().containers.run(
            own_image(),
            ["bash", "-c", f"kill -KILL {pid}"],
            pid_mode="host",
            network_mode="none",
            remove=True,
            labels=_owned(),
        )
        wait_until(lambda: self.state["Pid"] != pid, 10, f"the end of process {pid}", every=0.02)

    def pause(self) -> None:
        """Freeze it: connections stay open, nothing responds."""
        self.container.pause()

    def resume(self) -> None:
        """Undo `pause`."""
        self.container.unpause()

    def stop(self) -> int:
        """Stop it as compose does, with the container's own signal and grace period, and return the exit
        code.
        """
        self.container.stop(timeout=int(self.grace))
        code: int = self.state["ExitCode"]
        return code

    def start(self) -> None:
        """Start it again after `kill` or `stop`."""
        self.container.start()

    def cut(self) -> None:
        """Disconnect it from all its networks. Its connections stay half-open on both sides."""
        networks = self.inspect()["NetworkSettings"]["Networks"]
        self._cut = {name: known["Aliases"] or [] for name, known in networks.items()}
        for name in self._cut:
            engine().networks.get(name).disconnect(self.container, force=True)

    def mend(self) -> None:
        """Undo `cut`: the same networks and names, possibly other addresses."""
        for name, aliases in self._cut.items():
            engine().networks.get(name).connect(self.container, aliases=aliases)
        self._cut = {}

    # ---- inspection

    def exec(self, *command: str, user: str = "", env: dict[str, str] | None = None) -> Result:
        """Run a command inside. The output includes standard error."""
        ended = self.container.exec_run(list(command), user=user, environment=env)
        assert isinstance(ended.output, bytes) and ended.exit_code is not None
        return Result(ended.exit_code, ended.output.decode(errors="replace"))

    def run_like_it(self, changed: dict[str, str], *, deadline: float = 60) -> Result:
        """Run the container's command with the same user and volumes, but with `changed` in the environment
        and without a network.
        """
        found = self.inspect()
        config, host = found["Config"], found["HostConfig"]
        environment = dict(entry.split("=", 1) for entry in config["Env"] or []) | changed
        container = engine().containers.create(
            config["Image"],
            config["Cmd"],
            entrypoint=config["Entrypoint"],
            environment=environment,
            user=config["User"],
            group_add=host["GroupAdd"],
            volumes={
                mount["Name"]: {"bind": mount["Destination"], "mode": mount["Mode"]}
                for mount in found["Mounts"]
            },
            tmpfs=host["Tmpfs"],
            read_only=host["ReadonlyRootfs"],
            cap_drop=host["CapDrop"],
            security_opt=host["SecurityOpt"],
            network_mode="none",
            labels=_owned(),
        )
        try:
            container.start()
            code = container.wait(timeout=deadline)["StatusCode"]
            return Result(code, container.logs().decode(errors="replace"))
        finally:
            container.remove(force=True)

    def stats(self) -> dict[str, Any]:
        """One reading of the engine's statistics."""
        read = self.container.stats(stream=False, one_shot=True)
        assert isinstance(read, dict)
        return read

    def check_times(self) -> list[float]:
        """Durations of the last health checks in seconds."""
        log = self.state.get("Health", {}).get("Log") or []
        return [(_moment(entry["End"]) - _moment(entry["Start"])).total_seconds() for entry in log]

    def logs(self, since: datetime.datetime | None = None) -> str:
        """Its log, each line with its time."""
        written: bytes = self.container.logs(since=since.timestamp() if since else None, timestamps=True)
        return written.decode(errors="replace")

    def health_log(self) -> str:
        """The last results of the health check."""
        health = self.state.get("Health") or {}
        lines = [f"status {health.get('Status')}, failing streak {health.get('FailingStreak')}"]
        lines += [
            f"{entry['Start']} exit {entry['ExitCode']}: {entry['Output'].strip()}"
            for entry in health.get("Log") or []
        ]
        return "\n".join(lines)

    def read_file(self, path: str) -> bytes:
        """Read a file from it, running or not."""
        chunks, _ = self.container.get_archive(path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            member = archive.next()
            assert member is not None
            found = archive.extractfile(member)
            assert found is not None, f"{path} is not a file"
            return found.read()


class Service:
    """All containers of one service."""

    def __init__(self, stack: Stack, name: str) -> None:
        self.stack = stack
        self.name = name

    @property
    def replicas(self) -> list[Replica]:
        """Its containers by number, including stopped ones, without the one-off containers of `compose
        run`.
        """
        found = [
            Replica(self.stack, container)
            for container in self.stack.containers()
            if container.labels.get(SERVICE_LABEL) == self.name
            and container.labels.get(NUMBER_LABEL, "").isdigit()
        ]
        return sorted(found, key=lambda replica: int(replica.container.labels[NUMBER_LABEL]))

    def __iter__(self) -> Iterator[Replica]:
        return iter(self.replicas)

    def __getitem__(self, index: int) -> Replica:
        return self.replicas[index]

    def exec(self, *command: str, user: str = "") -> Result:
        """Run a command in the first container."""
        return self[0].exec(*command, user=user)

    def logs(self, since: datetime.datetime | None = None) -> str:
        """The logs of all its containers."""
        return "".join(replica.logs(since) for replica in self)

    def health_log(self) -> str:
        """The last health check results of each container."""
        return "\n".join(replica.health_log() for replica in self)

    def stop(self) -> None:
        """Stop all its containers."""
        self.stack.compose.run("stop", self.name)

    def start(self) -> None:
        """Start them again, without waiting."""
        self.stack.compose.run("start", self.name)

    def wait_healthy(self, deadline: float = 60) -> None:
        """Wait until all its containers are healthy."""
        wait_until(
            lambda: (replicas := self.replicas) and all(replica.healthy for replica in replicas),
            deadline,
            f"{self.name} healthy",
            every=0.25,
        )

    def recreate(self) -> None:
        """Replace its containers by new ones with the same names and new addresses. Return when they are
        healthy.

        The engine assigns the lowest free address, so other containers occupy the old addresses while
        the new ones are created.
        """
        before = {tuple(sorted(replica.addresses.items())) for replica in self}
        networks = [name for name, _ in next(iter(before))]
        count = len(self.replicas)
        self.stack.compose.run("rm", "--stop", "--force", self.name)
        freed = {address for addresses in before for address in addresses}
        squatters: list[Container] = []
        try:
            while freed and len(squatters) < 32:
                squatters.append(self._squat(networks))
                freed -= self._stands_on(squatters[-1])
            self.stack.up(self.name, scale={self.name: count}, options=("--no-deps",))
        finally:
            for squatter in squatters:
                squatter.remove(force=True)
        after = {tuple(sorted(replica.addresses.items())) for replica in self}
        assert not before & after, f"{self.name} has its old addresses again: {before & after}"

    def _squat(self, networks: list[str]) -> Container:
        names = [f"{self.stack.name}_{network}" for network in networks]
        squatter = engine().containers.create(
            own_image(), ["sleep", "600"], network=names[0], labels=_owned()
        )
        for name in names[1:]:
            engine().networks.get(name).connect(squatter)
        squatter.start()
        return squatter

    def _stands_on(self, squatter: Container) -> set[tuple[str, str]]:
        squatter.reload()
        return {
            (name.removeprefix(f"{self.stack.name}_"), network["IPAddress"])
            for name, network in squatter.attrs["NetworkSettings"]["Networks"].items()
        }


def _moment(text: str) -> datetime.datetime:
    """Parse the engine's time stamp, which has nanoseconds and a zone."""
    return datetime.datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", text))


def _owned() -> dict[str, str]:
    return {OWNER_LABEL: f"{PREFIX}-{run_id()}-helper"}
