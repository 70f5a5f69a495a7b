"""This run's own RabbitMQ in a container, which tests may stop, pause, fill and reconfigure.

- LAYER_TEST_IMAGE: the image, with Debian's rabbitmq-server and the user 2102 (default: sluice-rabbitmq)
- LAYER_TEST_BROKER: the address from here, host[:port] (default: the container's own, which the host can
  reach)
- LAYER_TEST_NETWORK: the Docker network of the container (default: bridge)
- LAYER_TEST_PREFIX: the prefix of the container's name (default: sluice-layer)
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker

USER, PASSWORD, VHOST = "layer", "p@ss/w:rd%", "asgi"
# Our password contains characters that a URL must percent-encode. The stock layer doesn't decode them, so it
# gets a user of its own.
PLAIN_USER, PLAIN_PASSWORD = "plain", "plain"

CONFIGURATION = """
load_definitions = /tmp/definitions.json
listeners.tcp.1 = 0.0.0.0:5672
disk_free_limit.absolute = 1MB
log.console = true
log.console.level = warning
"""
START = """
set -eu
printf '%s' "$CONFIGURATION" > /tmp/layer.conf
printf '%s' "$DEFINITIONS" > /tmp/definitions.json
export RABBITMQ_CONFIG_FILE=/tmp/layer.conf
exec /usr/lib/rabbitmq/bin/rabbitmq-server
"""
TOOL = "/usr/lib/rabbitmq/bin/rabbitmqctl"
PERMITTED = r"^(channels_.*|groups|asgi\.normal\..*)$"
PERMITTED_TO_WRITE = r"^(channels_.*|groups|asgi\.normal\..*|amq\.default)$"


def definitions() -> dict[str, Any]:
    def user(name: str, password: str) -> dict[str, Any]:
        salt = os.urandom(4)
        digest = hashlib.sha256(salt + password.encode()).digest()
        return {
            "name": name,
            "password_hash": base64.b64encode(salt + digest).decode(),
            "hashing_algorithm": "rabbit_password_hashing_sha256",
            "tags": "",  # RabbitMQ before 3.9 does not accept a list
        }

    def permission(name: str) -> dict[str, str]:
        return {
            "vhost": VHOST,
            "user": name,
            "configure": PERMITTED,
            "write": PERMITTED_TO_WRITE,
            "read": PERMITTED,
        }

    return {
        "users": [user(USER, PASSWORD), user(PLAIN_USER, PLAIN_PASSWORD)],
        "vhosts": [{"name": VHOST}, {"name": "other"}],
        "permissions": [permission(USER), permission(PLAIN_USER)],
    }


class Broker:
    def __init__(self, container: Any) -> None:
        self._container = container
        self.address = ("", 0)  # host and port, known after the start

    def _find_address(self) -> tuple[str, int]:
        if given := os.environ.get("LAYER_TEST_BROKER"):
            host, _, port = given.partition(":")
            return host, int(port or 5672)
        networks = self._container.attrs["NetworkSettings"]["Networks"]
        return next(network["IPAddress"] for network in networks.values()), 5672

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl and return its output."""
        code, output = self._container.exec_run([TOOL, "--quiet", *arguments])
        assert code == 0, f"rabbitmqctl {arguments}: {output.decode()}"
        return str(output.decode())

    @property
    def logs(self) -> str:
        """The command that prints the broker's log."""
        return f"docker logs {self._container.name}"

    def shell(self, script: str) -> str:
        """Run a Bash script that may call rabbitmqctl and the other tools, and return its output."""
        path = f"{os.path.dirname(TOOL)}:/usr/bin:/bin"
        _, output = self._container.exec_run(["bash", "-c", script], environment={"PATH": path})
        return str(output.decode(errors="replace"))

    def evaluate(self, erlang: str) -> str:
        return self.control("eval", erlang)

    @contextmanager
    def setting(self, name: str, value: str) -> Iterator[None]:
        """Change a setting for connections and channels that are opened inside the block."""
        before = self.evaluate(f"application:get_env(rabbit, {name}, undefined).").strip()
        self.evaluate(f"application:set_env(rabbit, {name}, {value}).")
        try:
            yield
        finally:
            self.evaluate(f"application:set_env(rabbit, {name}, {before}).")

    @contextmanager
    def alarm(self) -> Iterator[None]:
        """Raise the memory alarm, which blocks publishers."""
        self.control("set_vm_memory_high_watermark", "absolute", "1")
        try:
            yield
        finally:
            self.control("set_vm_memory_high_watermark", "0.4")

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Freeze the container: connections stay open, nothing responds."""
        self._container.pause()
        try:
            yield
        finally:
            self._container.unpause()

    def wipe(self) -> None:
        """Delete all data by a restart."""
        self._container.restart(timeout=1)
        self.wait()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the application, so that nothing listens."""
        self.control("stop_app")
        try:
            yield
        finally:
            self.control("start_app")

    def close_connections(self) -> None:
        self.control("close_all_connections", "--global", "closed by the test")

    def version(self) -> tuple[int, int]:
        major, minor = self.control("version").split(".")[:2]
        return int(major), int(minor)

    def connections(self) -> int:
        return int(self.evaluate("length(rabbit_networking:connections()).").split()[-1])

    def queues(self) -> dict[str, int]:
        """The queues of our vhost, each with its number of messages, including unacknowledged ones."""
        listed = self.control("list_queues", "--no-table-headers", "-p", VHOST, "name", "messages")
        return {name: int(count) for name, count in (line.split() for line in listed.splitlines())}

    def wait(self) -> None:
        """Wait until it serves clients."""
        deadline = time.monotonic() + 90
        while True:
            self._container.reload()
            assert self._container.status == "running", self._container.logs().decode()[-2000:]
            code, output = self._container.exec_run([TOOL, "--quiet", "await_startup", "--timeout", "60"])
            if code == 0:
                break
            assert time.monotonic() < deadline, f"{output.decode()}{self._container.logs().decode()[-2000:]}"
            time.sleep(0.2)
        self._container.reload()
        self.address = self._find_address()
        # RabbitMQ checks for overdue acknowledgements once a minute by default.
        self.evaluate("application:set_env(rabbit, channel_tick_interval, 500).")


@contextmanager
def running() -> Iterator[Broker]:
    engine = docker.from_env()
    image = engine.images.get(os.environ.get("LAYER_TEST_IMAGE", "sluice-rabbitmq"))  # never pulled
    container = engine.containers.run(
        image,
        entrypoint=["sh", "-c", START],
        command=[],
        name=f"{os.environ.get('LAYER_TEST_PREFIX', 'sluice-layer')}-{secrets.token_hex(4)}",
        hostname="rabbitmq",
        user="2102:2102",
        network=os.environ.get("LAYER_TEST_NETWORK", "bridge"),
        tmpfs={"/var/lib/rabbitmq": "uid=2102,gid=2102,mode=0700", "/var/log/rabbitmq": "uid=2102,gid=2102"},
        environment={
            "HOME": "/var/lib/rabbitmq",
            "CONFIGURATION": CONFIGURATION,
            "DEFINITIONS": json.dumps(definitions()),
        },
        mem_limit="1g",
        detach=True,
    )
    try:
        broker = Broker(container)
        broker.wait()
        yield broker
    finally:
        container.remove(force=True, v=True)
