"""How the layer can be created and called: from which threads and loops, with which arguments, and its error
messages.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pamqp.commands
import pamqp.frame
import pytest
from asgiref.sync import async_to_sync
from channels.exceptions import ChannelFull, StopConsumer
from channels_rabbitmq.core import RabbitmqChannelLayer as Stock

from layer_lab.broker import PASSWORD, PLAIN_USER, USER, VHOST, Broker
from layer_lab.kit import Ear, both, layer_and_proxy, until, url
from sluice_layer import LayerRefused, LayerUnavailable
from sluice_layer import RabbitmqChannelLayer as Ours
from sluice_layer.wire import Address, refuse_version


def url_of(kind: type, broker: Broker) -> str:
    return url(kind, *broker.address)


# Callers


@both
def test_made_without_a_loop(kind: type, survives: bool) -> None:
    """As `runworker` does, and any module at import."""
    try:
        kind()
    except RuntimeError:
        assert not survives
    else:
        assert survives


@both
def test_called_from_synchronous_code(kind: type, survives: bool, broker: Broker) -> None:
    """Call it twice: each async_to_sync has its own loop, and the stock layer belongs to the first."""

    async def scenario() -> bool:
        layer = kind(host=url_of(kind, broker))
        try:
            for _ in range(2):
                await asyncio.to_thread(async_to_sync(layer.group_send), "ears", {"type": "from a thread"})
        except RuntimeError:
            return False
        return True

    assert asyncio.run(scenario()) is survives


def test_threads_side_by_side_with_a_loop(broker: Broker) -> None:
    """One layer object, as in Channels: a loop receives while threads send."""

    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker) as (layer, proxy):
            channel = await layer.new_channel()
            await layer.group_add("ears", channel)
            failures: list[BaseException] = []

            def send() -> None:
                try:
                    for _ in range(5):
                        async_to_sync(layer.group_send)("ears", {"type": "from a thread"})
                except BaseException as error:
                    failures.append(error)

            threads = [threading.Thread(target=send) for _ in range(4)]
            for thread in threads:
                thread.start()
            for _ in range(20):
                assert (await layer.receive(channel))["type"] == "from a thread"
            await asyncio.gather(*(asyncio.to_thread(thread.join) for thread in threads))
            assert failures == []
            await until(lambda: proxy.open <= 1, "the threads' connections to be closed")

    asyncio.run(scenario())


def test_a_channel_of_another_loop(broker: Broker) -> None:
    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker) as (layer, _):
            other = await asyncio.to_thread(async_to_sync(layer.new_channel))
            for call in (layer.receive(other), layer.group_add("ears", other)):
                with pytest.raises(ValueError, match="was not created by new_channel"):
                    await call

    asyncio.run(scenario())


# Arguments


@both
def test_a_password_that_needs_encoding(kind: type, survives: bool, broker: Broker) -> None:
    host, port = broker.address

    async def scenario() -> bool:
        layer = kind(host=f"amqp://{USER}:{quote(PASSWORD, safe='')}@{host}:{port}/{VHOST}")
        sending = asyncio.ensure_future(layer.group_send("ears", {"type": "hello"}))
        await asyncio.wait({sending}, timeout=3)
        return sending.done() and sending.exception() is None

    assert asyncio.run(scenario()) is survives


def test_an_address_of_ipv6() -> None:
    address = Address.parse("amqp://layer:s%40crt@[2001:db8::5]:5673/asgi%2Fone")
    assert (address.host, address.port, address.vhost) == ("2001:db8::5", 5673, "asgi/one")
    assert str(address) == "RabbitMQ at [2001:db8::5]:5673 (vhost asgi/one, user layer)"
    assert address.password == "s@crt"
    assert "s@crt" not in repr(address)


def test_connects_by_ipv6(broker: Broker) -> None:
    async def scenario() -> None:
        from layer_lab.faults import FaultProxy

        proxy = FaultProxy(lambda: broker.address, listen="::1")
        await proxy.accept()
        layer = Ours(host=url(Ours, "[::1]", proxy.port))
        await layer.group_send("ears", {"type": "hello"})
        assert proxy.accepted == 1
        await layer.close()
        await proxy.close()

    asyncio.run(scenario())


def test_a_password_from_a_file_that_is_rotated(broker: Broker, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("the former one\n")
    host, port = broker.address

    async def scenario() -> None:
        layer = Ours(
            host=f"amqp://{USER}@{host}:{port}/{VHOST}", password_file=str(file), reconnect_delay=0.5
        )
        with pytest.raises(LayerRefused, match="refused our credentials"):
            await layer.group_send("ears", {"type": "hello"})
        file.write_text(f"{PASSWORD}\n")

        async def sent() -> None:
            await layer.group_send("ears", {"type": "hello"})

        await succeeds(sent)
        await layer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"host": "http://localhost"}, "must be a URL like amqp://"),
        ({"host": "amqp://user:top/secret@host/asgi"}, "percent-encoded"),
        ({"host": "amqp://user:secret@host:port/asgi"}, "percent-encoded"),
        ({"local_expiry": 3600}, "local_expiry must be a number from 0.1 to 900"),
        ({"heartbeat": 0}, "heartbeat must be a number from 1"),
        ({"operation_timeout": None}, "operation_timeout must be a number"),
        ({"ssl_context": object()}, "amqps://"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        Ours(**options)
    assert "secret" not in str(caught.value)


# Error messages


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (("wrong", VHOST, {}), "group_add to ears failed: RabbitMQ at .* refused our credentials"),
        (("plain", "nowhere", {}), "refused the vhost; check that it exists"),
        (("plain", "other", {}), "refused the vhost; check that it exists and is the user"),
        (("plain", VHOST, {"groups_exchange": "forbidden"}), "the user has no permission for this"),
    ],
    ids=["password", "vhost", "vhost of others", "permission"],
)
def test_refusals_say_what_to_change(
    broken: tuple[str, str, dict[str, Any]], sentence: str, broker: Broker
) -> None:
    password, vhost, options = broken
    host, port = broker.address

    async def scenario() -> None:
        layer = Ours(host=f"amqp://{PLAIN_USER}:{password}@{host}:{port}/{vhost}", **options)
        with pytest.raises(LayerRefused, match=sentence):
            await layer.group_add("ears", await layer.new_channel())
        await layer.close()

    asyncio.run(scenario())


def test_nobody_listens() -> None:
    async def scenario() -> None:
        layer = Ours(host="amqp://127.0.0.1:1/asgi", operation_timeout=0.5)
        with pytest.raises(
            LayerUnavailable, match=r"127\.0\.0\.1:1 .*nothing listens there.*gave up after 0\.5 s"
        ):
            await layer.group_send("ears", {"type": "hello"})
        await layer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("product", "version", "refused"),
    [
        ("RabbitMQ", "3.7.28", True),
        ("RabbitMQ", "3.8.0", False),
        ("RabbitMQ", "4.0.5+1", False),
        ("RabbitMQ", "4.3", False),
        ("RabbitMQ", "unknown", False),
        ("LavinMQ", "2.1.0", False),
    ],
)
def test_versions(product: str, version: str, refused: bool) -> None:
    assert (refuse_version({"product": product, "version": version}) is not None) is refused


def test_a_broker_that_is_too_old() -> None:
    async def introduce(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        start = pamqp.commands.Connection.Start(
            server_properties={"product": "RabbitMQ", "version": "3.7.28"},
            mechanisms="PLAIN",
            locales="en_US",
        )
        writer.write(pamqp.frame.marshal(start, 0))
        await reader.read()
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(introduce, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        layer = Ours(host=f"amqp://127.0.0.1:{port}/asgi")
        with pytest.raises(
            LayerRefused, match=r"it is RabbitMQ 3\.7\.28, and the layer needs 3\.8 or newer; upgrade"
        ):
            await layer.group_send("ears", {"type": "hello"})
        await layer.close()
        server.close()

    asyncio.run(scenario())


# Channels' requirements for any layer


def test_a_full_queue(broker: Broker) -> None:
    """send raises ChannelFull; group_send never raises it."""

    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker, local_capacity=1, remote_capacity=1) as (layer, _):
            channel = await layer.new_channel()
            await layer.group_add("ears", channel)
            with pytest.raises(ChannelFull):
                for _ in range(10):
                    await layer.send(channel, {"type": "one too many"})
            for _ in range(10):
                await layer.group_send("ears", {"type": "one too many"})

    asyncio.run(scenario())


def test_closing(broker: Broker) -> None:
    async def scenario() -> None:
        layer = Ours(host=url_of(Ours, broker))
        ear = await Ear.join(layer)
        receiving = [asyncio.ensure_future(layer.receive(name)) for name in (ear.channel, "normal")]
        await asyncio.sleep(0)
        await layer.close()
        for call in receiving:
            with pytest.raises(StopConsumer):
                await call
        for call_again in (layer.group_send("ears", {"type": "late"}), layer.receive(ear.channel)):
            with pytest.raises(StopConsumer):
                await call_again
        await layer.close()
        assert layer.status()["receiving"] is False

    asyncio.run(scenario())


def test_long_messages(broker: Broker) -> None:
    """Messages longer than one frame of 128 KiB."""

    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker) as (layer, _):
            channel = await layer.new_channel()
            for name in (channel, "long"):
                await layer.send(name, {"type": "long", "octets": b"x" * 1_000_000})
                assert len((await layer.receive(name))["octets"]) == 1_000_000

    asyncio.run(scenario())


def test_names_are_checked() -> None:
    async def scenario() -> None:
        layer = Ours()
        for call in (
            layer.send("no spaces", {}),
            layer.group_send("no!", {}),
            layer.group_add("g" * 100, "c"),
        ):
            with pytest.raises(TypeError, match="name must be a valid unicode string"):
                await call

    asyncio.run(scenario())


def test_concurrent_joining_and_leaving(broker: Broker) -> None:
    """In whatever order the calls overlap, the binding finally matches the membership."""

    async def scenario() -> None:
        async with layer_and_proxy(Ours, broker) as (layer, _):
            channels = [await layer.new_channel() for _ in range(20)]
            for _ in range(10):
                await asyncio.gather(
                    *(layer.group_add("ears", channel) for channel in channels),
                    *(layer.group_discard("ears", channel) for channel in channels[1:]),
                )
                await asyncio.gather(*(layer.group_discard("ears", channel) for channel in channels[1:]))
                await layer.group_send("ears", {"type": "hello"})
                assert await layer.receive(channels[0]) == {"type": "hello"}

    asyncio.run(scenario())


def test_is_a_subclass() -> None:
    """Code that checks for upstream's class accepts ours."""
    assert issubclass(Ours, Stock)


async def succeeds(call: Callable[[], Awaitable[None]], seconds: float = 10) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            return await call()
        except LayerUnavailable:
            if asyncio.get_running_loop().time() >= deadline:
                raise
