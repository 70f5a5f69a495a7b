"""The doctor finds mistakes in the broker's setup, and a broker that is down."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from unit.doctor.house import House
from unit.doctor.mistakes import Making, Mistake, edited, gone, recognised, rotated

from harness.slow_line import SlowLine
from harness.waiting import wait_until
from sluice_stack.doctor import broker

NO_RIGHTS = ("^$", "^$", "^$")
# The method basic.publish, by its number in AMQP 0-9-1.
_PUBLISH = b"\x00\x3c\x00\x28"


def ctl(
    *arguments: str, undo: tuple[str, ...] | None = None, permit: tuple[str, str] | None = None
) -> Making:
    """A `rabbitmqctl` command, and the command that undoes it."""

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


@contextlib.contextmanager
def without_a_queue(house: House) -> Iterator[None]:
    with house.without("celery"):
        house.rabbitmq.ctl("delete_queue", "--vhost", "celery", "celery")
        yield


@contextlib.contextmanager
def nobody_listened(house: House) -> Iterator[None]:
    """The first layer that connects declares the exchange; here, none has."""
    house.rabbitmq.ctl("add_vhost", "untouched")
    try:
        house.rabbitmq.ctl("set_permissions", "--vhost", "untouched", "publisher", "^$", "^groups$", "^$")
        with house.edited("sluice.env", f":{house.rabbitmq.port}/asgi", f":{house.rabbitmq.port}/untouched"):
            yield
    finally:
        house.rabbitmq.ctl("delete_vhost", "untouched")


@contextlib.contextmanager
def slow_line(house: House) -> Iterator[None]:
    """A line between the doctor and RabbitMQ on which each publish takes 0.6 s."""
    with (
        SlowLine(house.rabbitmq.port, _PUBLISH, 0.6) as line,
        house.edited("daphne.env", f":{house.rabbitmq.port}/", f":{line.port}/"),
    ):
        yield


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
    "its file is missing": Mistake(
        lambda house: gone(house, "secrets/mq_tasks"),
        "broker-login",
        "beat, TASKS",
        "mq_tasks does not exist",
        "the file's name",
    ),
    "another server": Mistake(
        lambda house: edited("beat.env", f":{house.rabbitmq.port}/", f":{house.postgres.port}/")(house),
        "broker-reachable",
        "beat, TASKS",
        "Server unexpectedly closed connection",
        "correct TASKS_URL",
    ),
    "a name that doesn't resolve": Mistake(
        lambda house: edited("beat.env", f"127.0.0.1:{house.rabbitmq.port}", "nowhere.invalid:1")(house),
        "broker-reachable",
        "beat, TASKS",
        "the host of nowhere.invalid:1 does not resolve here",
        "correct TASKS_URL",
    ),
    # No available Debian has a version that is too old. This one only claims to be.
    "a version that is too old": Mistake(
        ctl(
            "eval",
            'application:set_env(rabbit, server_properties, [{version, "3.7.28"}]).',
            undo=("eval", "application:set_env(rabbit, server_properties, [])."),
        ),
        "broker-version",
        "daphne, LAYER",
        "RabbitMQ 3.7.28 is too old",
        "3.8 or newer",
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
        "has no permission in vhost asgi",
        "set_permissions",
    ),
    "the layer may not make queues": Mistake(
        ctl("set_permissions", "--vhost", "asgi", "layer", "^$", ".*", ".*", permit=("layer", "asgi")),
        "broker-permissions",
        "daphne, LAYER",
        "has no permission",
        "set_permissions",
    ),
    "the layer may not read": Mistake(
        ctl("set_permissions", "--vhost", "asgi", "layer", ".*", ".*", "^$", permit=("layer", "asgi")),
        "layer-round-trip",
        "daphne, LAYER",
        "has no permission for this",
        "see broker-",
    ),
    "who orders crops may not write": Mistake(
        ctl("set_permissions", "--vhost", "celery", "tasks", *NO_RIGHTS, permit=("tasks", "celery")),
        "broker-permissions",
        "beat, TASKS",
        "has no permission in vhost celery",
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
        "no Daphne has connected yet",
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
    "a slow line": Mistake(
        slow_line,
        "layer-round-trip",
        "daphne, LAYER",
        "ms to come back",
        "check the load",
        "warning",
    ),
    "no Celery worker is connected": Mistake(
        lambda house: house.without("celery"),
        "broker-consumers",
        "",
        "no Celery worker is connected",
        "Celery worker",
        "warning",
    ),
    "nobody listens at the port": Mistake(
        lambda house: edited("daphne.env", f":{house.rabbitmq.port}/", ":1/")(house),
        "broker-reachable",
        "daphne, LAYER",
        "nothing listens at 127.0.0.1:1",
        "start RabbitMQ, or correct LAYER_URL",
    ),
    "somebody else listens": Mistake(
        lambda house: edited("daphne.env", f":{house.rabbitmq.port}/", f":{house.ports['gunicorn']}/")(house),
        "broker-reachable",
        "daphne, LAYER",
        "127.0.0.1:",
        "RabbitMQ",
    ),
}


@pytest.mark.parametrize("mistake", BROKER)
def test_it_recognises_in_the_broker(house: House, front: str, mistake: str) -> None:
    recognised(house, front, BROKER[mistake])


def test_rabbitmq_is_down_frozen_or_in_alarm(house: House, front: str) -> None:
    every = ["--only", *broker_checks(), "layer-round-trip", "front-ready"]
    house.rabbitmq.pause()
    try:
        said = house.doctor("--inside", *every)
    finally:
        house.rabbitmq.resume()
    assert "accepts the connection and does not answer" in said.of("broker-reachable", "daphne")["message"]
    assert said.of("layer-round-trip", "daphne")["verdict"] == "failed"
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
    assert "in alarm" in said.of("broker-alarm", "gunicorn")["message"]
    assert "vm_memory_high_watermark" in said.of("broker-alarm", "gunicorn")["fix"]
    assert "in alarm" in said.of("layer-round-trip", "daphne")["message"]
    house.rabbitmq.stop()
    try:
        said = house.doctor("--at", front, *every)
    finally:
        house.rabbitmq.start()
        house.recover()
    assert "nothing listens at" in said.of("broker-reachable", "daphne")["message"]
    assert said.of("front-ready")["verdict"] == "warning"
    assert said.of("broker-login")["verdict"] == "skipped"


def broker_checks() -> list[str]:
    return [check.name for check in broker.CHECKS]
