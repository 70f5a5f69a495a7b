"""RabbitMQ, as each program connects to it: version, account, vhost, permissions, alarms."""

from __future__ import annotations

import re
import secrets
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from sluice_stack import environment
from sluice_updates.broker.address import Address

from .deployment import Check, Deployment, Program
from .finding import Finding, Skipped, failed, one_line, passed, warning

OLDEST: Final = (3, 8)  # docs/reference/layer-versions.md
SECONDS: Final = 3.0
_PERMISSIONS: Final = "rabbitmqctl set_permissions, as in docs/reference/services.md (RabbitMQ)"


@dataclass(frozen=True)
class Account:
    """A program's account for one use of the broker. `setting` is LAYER, PUBLISHER or TASKS."""

    program: Program
    setting: str
    url: str
    password_file: str

    @property
    def where(self) -> str:
        return f"{self.program.name}, {self.setting}_URL"

    @cached_property
    def address(self) -> Address:
        return Address.parse(self.url)

    @property
    def user(self) -> str:
        return self.address.user

    @property
    def vhost(self) -> str:
        return self.address.vhost

    @property
    def place(self) -> str:
        return self.address.place

    def connection(self, **options: Any) -> Any:
        """An amqp.Connection, not opened yet. Raises Malformed if the password's file can't be read."""
        password = None
        if self.password_file:
            password = environment.secret(self.password_file, f"{self.setting}_PASSWORD_FILE")
        return self.address.connection(SECONDS, password=password, **options)


def accounts_of(deployment: Deployment) -> list[Account]:
    """The broker accounts of all programs here. Raises Skipped if there is none."""
    if not deployment.push:
        raise Skipped("push is off: see push-installed")
    accounts = [
        Account(
            program,
            setting,
            getattr(program.env, f"{setting.lower()}_url"),
            getattr(program.env, f"{setting.lower()}_password_file"),
        )
        for program in deployment.programs
        for setting in ("LAYER", "PUBLISHER", "TASKS")
        # The common file may set a URL that this program doesn't use.
        if getattr(program.env, f"{setting.lower()}_url") and program.service in _USED_BY[setting]
    ]
    if not accounts:
        raise Skipped("no broker is configured")
    return accounts


_USED_BY: Final = {
    setting: environment.rows(environment.Environment)[f"{setting}_URL"].services.split()
    for setting in ("LAYER", "PUBLISHER", "TASKS")
}


def _look(name: str) -> Callable[[Deployment], Iterator[Finding]]:
    """The check with this name: it yields the finding for each account."""

    def look(deployment: Deployment) -> Iterator[Finding]:
        for account in accounts_of(deployment):
            if account.where not in deployment.broker:
                deployment.broker[account.where] = _visit(account, deployment.stalled)
            if finding := deployment.broker[account.where].get(name):
                yield finding

    return look


def _visit(account: Account, stalled: set[str]) -> dict[str, Finding]:
    """Connect and use the account as its program does, up to the first failure. Findings by check.

    A broker that hangs costs one time-out: its address is then added to `stalled`.
    """
    import amqp

    where = account.where
    seen: dict[str, Finding] = {}
    if account.place in stalled:
        seen |= _explained(TimeoutError(), account, is_open=False, is_blocked=False)
        return seen
    blocked: list[str] = []
    try:
        connection = account.connection(on_blocked=blocked.append)
    except environment.Malformed as error:
        seen["broker-login"] = failed(one_line(error), "correct the file's name, owner or group", where)
        return seen
    channel = None
    try:
        connection.connect()
        connection.sock.settimeout(SECONDS)
        seen["broker-login"] = passed(f"user {account.user} is accepted", where)
        seen["broker-vhost"] = passed(f"vhost {account.vhost} is there", where)
        channel = connection.channel()
        _USES[account.setting](channel, account)
        seen["broker-permissions"] = passed(f"user {account.user} has its permissions", where)
        seen["broker-alarm"] = passed("it accepts messages", where)
    except (OSError, amqp.AMQPError) as error:
        found = _explained(error, account, is_open=channel is not None, is_blocked=bool(blocked))
        seen |= found
        if isinstance(error, TimeoutError) and not connection.server_properties:
            stalled.add(account.place)
    finally:
        version = str((connection.server_properties or {}).get("version", ""))
        connection.collect()
    if version:
        seen.setdefault("broker-reachable", passed(f"RabbitMQ answers at {account.place}", where))
        seen["broker-version"] = _of_version(version, where)
    return seen


def _of_version(version: str, where: str) -> Finding:
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) >= OLDEST:
        return passed(f"RabbitMQ {version}", where)
    oldest = ".".join(map(str, OLDEST))
    return failed(f"RabbitMQ {version} is too old", f"upgrade it to {oldest} or newer", where)


def _explained(error: Exception, account: Account, *, is_open: bool, is_blocked: bool) -> dict[str, Finding]:
    """The findings that an error means, by check."""
    import amqp

    where, user, vhost = account.where, account.user, account.vhost
    if isinstance(error, amqp.AccessRefused) and not is_open:
        return {
            "broker-login": failed(
                f"it refuses user {user} with the password of {account.password_file or 'the URL'}",
                f"rabbitmqctl change_password {user} <{account.password_file or '…'} (rabbitmqctl add_user,"
                " if list_users has none); in containers: docker compose restart rabbitmq sets them again",
                where,
            )
        }
    if isinstance(error, amqp.NotAllowed):
        is_gone = "not found" in str(error)
        return {
            "broker-login": passed(f"user {user} is accepted", where),
            "broker-vhost": failed(
                f"there is no vhost {vhost}" if is_gone else f"user {user} may not enter vhost {vhost}",
                f"rabbitmqctl add_vhost {vhost}, then set_permissions" if is_gone else _PERMISSIONS,
                where,
            ),
        }
    if isinstance(error, amqp.AccessRefused):
        return {
            "broker-permissions": failed(
                f"user {user} has no permission in vhost {vhost}: {one_line(error)}", _PERMISSIONS, where
            )
        }
    if isinstance(error, amqp.NotFound):
        return {"broker-permissions": _nobody_there(account)}
    if is_blocked:
        return {
            "broker-alarm": failed(
                "it is in alarm and accepts no messages: updates arrive by the database, tasks wait",
                "free memory or disk (rabbitmq-diagnostics alarms shows which); vm_memory_high_watermark and"
                " disk_free_limit in rabbitmq.conf",
                where,
            )
        }
    if isinstance(error, TimeoutError):
        message = f"{account.place} accepts the connection and does not answer"
        fix = "run rabbitmqctl status; if it hangs, restart RabbitMQ"
    elif isinstance(error, ssl.SSLCertVerificationError):
        message = f"{account.place}: {one_line(account.address.explain(error), 300)}"
        fix = (
            f"use a certificate for the host in {account.setting}_URL; for your own authority:"
            " SSL_CERT_FILE=FILE in /etc/sluice/sluice.env, or update-ca-certificates"
        )
    else:
        message = f"{account.place}: {one_line(account.address.explain(error), 300)}"
        if isinstance(error, ConnectionRefusedError):
            message = f"nothing listens at {account.place}"
        if isinstance(error, socket.gaierror):
            message = f"the host of {account.place} does not resolve here"
        fix = f"start RabbitMQ, or correct {account.setting}_URL"
    return {"broker-reachable": failed(message, fix, where)}


def _nobody_there(account: Account) -> Finding:
    if account.setting == "PUBLISHER":
        return warning(
            f"vhost {account.vhost} has no exchange groups: no Daphne has connected yet",
            "start Daphne; if it runs, correct its LAYER_URL",
            account.where,
        )
    return warning(
        f"vhost {account.vhost} has no queue celery yet: tasks wait",
        "start the Celery worker, which creates it",
        account.where,
    )


def _use_layer(channel: Any, account: Account) -> None:
    """Declare a queue, write to it and read it. RabbitMQ deletes it with the connection."""
    name = f"channels_doctor_{secrets.token_hex(4)}"
    channel.queue_declare(name, exclusive=True, auto_delete=True)
    _publish(channel, "", name)
    channel.basic_get(name, no_ack=True)


def _use_publisher(channel: Any, account: Account) -> None:
    """Publish with a routing key to which no queue is bound, so that no Daphne wakes up."""
    _publish(channel, "groups", "doctor")


def _use_tasks(channel: Any, account: Account) -> None:
    """Check that the queue exists, and publish with a key to which no queue is bound."""
    channel.queue_declare("celery", passive=True)
    for exchange in ("celery", "") if account.program.service == "celery" else ("",):
        _publish(channel, exchange, "celery.doctor")


def _publish(channel: Any, exchange: str, key: str) -> None:
    """Publish twice: a broker in alarm accepts only the first message of a connection."""
    import amqp

    for _ in range(2):
        channel.basic_publish_confirm(amqp.Message(b""), exchange, key, confirm_timeout=SECONDS)


_USES: Final[dict[str, Callable[[Any, Account], None]]] = {
    "LAYER": _use_layer,
    "PUBLISHER": _use_publisher,
    "TASKS": _use_tasks,
}


def _one_vhost(deployment: Deployment) -> Iterator[Finding]:
    """A publisher in another vhost than the layer's wakes no Daphne and gets no error."""
    accounts = accounts_of(deployment)
    places = {
        setting: {f"{account.place}/{account.vhost}" for account in accounts if account.setting == setting}
        for setting in ("LAYER", "PUBLISHER")
    }
    if not all(places.values()):
        raise Skipped("only one of LAYER_URL and PUBLISHER_URL is set here")
    if len({account.address.is_by_tls for account in accounts if account.setting in places}) > 1:
        raise Skipped("only one of LAYER_URL and PUBLISHER_URL uses TLS, with its own port")
    if astray := places["PUBLISHER"] - places["LAYER"]:
        yield failed(
            f"PUBLISHER_URL leads to {', '.join(sorted(astray))}, LAYER_URL to"
            f" {', '.join(sorted(places['LAYER']))}: no wake-up reaches Daphne",
            "set both to the channel layer's vhost (PUBLISHER_URL in /etc/sluice/sluice.env)",
        )
    else:
        yield passed("wake-ups go to the vhost that Daphne listens to")


def _consumers(deployment: Deployment) -> Iterator[Finding]:
    """Whether a Celery worker is connected, and how many tasks wait."""
    accounts = [account for account in accounts_of(deployment) if account.setting == "TASKS"]
    if not accounts:
        raise Skipped("this program publishes no tasks")
    import amqp

    account = accounts[0]
    try:
        with account.connection() as connection:
            _, waiting, consumers = connection.channel().queue_declare("celery", passive=True)
    except (OSError, amqp.AMQPError, environment.Malformed):
        raise Skipped("see broker-login and broker-permissions") from None
    if consumers == 0:
        yield warning(
            f"no Celery worker is connected; {waiting} tasks wait",
            "start the Celery worker; if it ended, see its log",
        )
    else:
        yield passed(f"{consumers} Celery worker{'s' if consumers > 1 else ''}; {waiting} tasks wait")


CHECKS: Final = [
    Check("broker-reachable", "RabbitMQ answers", _look("broker-reachable")),
    Check("broker-version", f"RabbitMQ is {OLDEST[0]}.{OLDEST[1]} or newer", _look("broker-version")),
    Check("broker-login", "it accepts each account's password", _look("broker-login")),
    Check("broker-vhost", "each account may enter its vhost", _look("broker-vhost")),
    Check("broker-permissions", "each account has its permissions", _look("broker-permissions")),
    Check("broker-alarm", "it accepts messages", _look("broker-alarm")),
    Check("broker-one-vhost", "wake-ups go to the vhost that Daphne listens to", _one_vhost),
    Check("broker-consumers", "a Celery worker is connected", _consumers),
]
