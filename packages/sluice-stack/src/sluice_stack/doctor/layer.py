"""The channel layer: whether a message comes back, with the account of each program that uses the layer."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from typing import Final

from .broker import Account, accounts_of
from .deployment import Check, Deployment
from .finding import Finding, Skipped, failed, one_line, passed, warning

ROUND_TRIP_SECONDS: Final = 6.0
SLOW_SECONDS: Final = 0.5


def _round_trip(deployment: Deployment) -> Iterator[Finding]:
    accounts = [account for account in accounts_of(deployment) if account.setting == "LAYER"]
    if not accounts:
        raise Skipped("this program has no channel layer; push-health shows Daphne's round trip")
    for account in accounts:
        if account.place in deployment.stalled:
            yield failed(f"{account.place} does not answer", "see broker-reachable", account.where)
            continue
        try:
            seconds = asyncio.run(asyncio.wait_for(_go_round(account), ROUND_TRIP_SECONDS))
        except Exception as error:  # the layer's, Channels' and the network's errors
            message = (
                one_line(error) if str(error) else f"no message came back within {ROUND_TRIP_SECONDS:g} s"
            )
            yield failed(
                message,
                "see broker-reachable, broker-login, broker-vhost, broker-permissions, broker-alarm",
                account.where,
            )
            continue
        milliseconds = f"{1000 * seconds:.0f} ms"
        if seconds > SLOW_SECONDS:
            yield warning(
                f"a message took {milliseconds} to come back",
                "check the load of RabbitMQ and of this machine",
                account.where,
            )
        else:
            yield passed(f"a message came back in {milliseconds}", account.where)


async def _go_round(account: Account) -> float:
    """Send a message to a group over new connections. Returns the seconds until its member receives it."""
    from sluice_layer import RabbitmqChannelLayer

    group = f"doctor-{secrets.token_hex(8)}"
    layer = RabbitmqChannelLayer(host=account.url, password_file=account.password_file or None)
    try:
        channel = await layer.new_channel()
        await layer.group_add(group, channel)
        began = time.perf_counter()
        await layer.group_send(group, {"type": "doctor"})
        await layer.receive(channel)
        return time.perf_counter() - began
    finally:
        await layer.close()


CHECKS: Final = [
    Check("layer-round-trip", "a message comes back through the channel layer", _round_trip),
]
