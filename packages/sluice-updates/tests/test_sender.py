"""Wake-ups to a real RabbitMQ: what is sent, and that no request waits in any state of the broker."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from django.db import connections, router, transaction

from harness.servers import RabbitMQ, free_port
from harness.waiting import wait_until
from sluice_updates import conf, history, identity, publish
from sluice_updates.broker import connection as broker_module
from sluice_updates.broker.connection import STEP_SECONDS, Broker, BrokerDown
from sluice_updates.models import Database, Update
from sluice_updates.positions import ZERO
from sluice_updates.wakeup import sender
from sluice_updates.wakeup.rabbitmq import ByRabbitMQ
from updates_lab.layer import Layer

# The duration of the longest step until failure, on a busy machine.
SOON = 3 * STEP_SECONDS + 2


@pytest.fixture
def any_database(database_on: Callable[[str], str]) -> str:
    """One database is enough for tests of the broker."""
    return database_on("sqlite")


@pytest.fixture
def layer(rabbitmq: RabbitMQ) -> Iterator[Layer]:
    layer = Layer(rabbitmq.url)
    yield layer
    layer.close()


@pytest.fixture
def wakeups(rabbitmq: RabbitMQ) -> Iterator[ByRabbitMQ]:
    wakeups = ByRabbitMQ(rabbitmq.url)
    yield wakeups
    wakeups.close()


def commit(*streams: str) -> list[int]:
    """Publish to the streams in one transaction. Return the updates' ids."""
    before = Update.objects.count()
    with transaction.atomic(using=router.db_for_write(Update)):
        for stream in streams:
            publish(stream, "e", {"n": 1})
    return list(Update.objects.order_by("id").values_list("id", flat=True))[before:]


def test_a_commit_is_one_message(database: str, layer: Layer, wakeups: ByRabbitMQ) -> None:
    wakeups.send([commit("user:7", "all", "user:7"), commit("all")])
    sent = [layer.wait()["updates"], layer.wait()["updates"]]
    assert [[update[:2] for update in updates] for updates in sent] == [
        [["all", 1], ["user:7", 1], ["user:7", 2]],
        [["all", 2]],
    ]
    stored = history.read({"all": ZERO, "user:7": ZERO}).updates
    assert sorted(map(tuple, sent[0] + sent[1])) == [
        (each.stream, each.position.offset, each.position.tag, each.frame) for each in stored
    ]
    assert layer.next() is None and (wakeups.state, wakeups.announced) == ("up", 4)


def test_a_wake_up_names_its_database(database: str, layer: Layer, wakeups: ByRabbitMQ) -> None:
    wakeups.send([commit("all")])
    first = layer.wait()["database"]
    assert first == identity.read(connections[database])
    identity.renew(database)
    wakeups.send([commit("all")])
    assert layer.wait()["database"] == identity.read(connections[database]) != first


def test_without_an_identity_there_are_no_wake_ups_but_a_log_line(
    database: str, layer: Layer, wakeups: ByRabbitMQ, caplog: pytest.LogCaptureFixture
) -> None:
    """As before `migrate`. Updates are committed, and the poll delivers them."""
    table = Database._meta.db_table

    def rename(before: str, after: str) -> None:
        with connections[database].cursor() as cursor:
            cursor.execute(f"ALTER TABLE {before} RENAME TO {after}")

    rename(table, "elsewhere")
    try:
        wakeups.send([commit("all"), commit("all")])
        assert (wakeups.state, wakeups.skipped, layer.next()) == ("down", 2, None)
        wakeups._retry_at = 0
        wakeups.send([commit("all")])
        wakeups._retry_at = 0
        wakeups.idle()
        assert wakeups.state == "down"
    finally:
        rename("elsewhere", table)
    assert caplog.text.count("no wake-ups can be sent") == 1
    assert "run `manage.py migrate`, and grant SELECT" in caplog.text
    wakeups._retry_at = 0
    wakeups.send([commit("all")])
    assert layer.wait()["updates"][0][1] == 4 and wakeups.state == "up"


def test_a_large_commit_is_cut(database: str, layer: Layer, wakeups: ByRabbitMQ) -> None:
    wakeups.send([commit(*["all"] * 450)])
    sent = [[update[1] for update in layer.wait()["updates"]] for _ in range(3)]
    assert sent == [[*range(1, 201)], [*range(201, 401)], [*range(401, 451)]]


def test_large_updates_are_cut_too(any_database: str, layer: Layer, wakeups: ByRabbitMQ) -> None:
    with transaction.atomic(using=router.db_for_write(Update)):
        for _ in range(20):
            publish("all", "e", {"text": "x" * 32_000})
    wakeups.send([list(Update.objects.order_by("id").values_list("id", flat=True))])
    sent = [[update[1] for update in layer.wait()["updates"]] for _ in range(2)]
    assert sent == [[*range(1, 17)], [*range(17, 21)]]


def test_what_was_rolled_back_is_not_announced(database: str, layer: Layer, wakeups: ByRabbitMQ) -> None:
    wakeups.send([[10**9], commit("all"), [10**9 + 1]])
    assert len(layer.wait()["updates"]) == 1 and layer.next() is None


def test_wake_ups_reach_a_layer_that_starts_later(
    any_database: str, rabbitmq: RabbitMQ, wakeups: ByRabbitMQ
) -> None:
    wakeups.send([commit("all"), commit("all")])
    assert (wakeups.state, wakeups.unheard, wakeups.announced) == ("up", 2, 0)
    connection = wakeups._broker._connection  # type: ignore[union-attr]
    layer = Layer(rabbitmq.url)
    wakeups.send([commit("all")])
    assert layer.wait()["updates"][0][:2] == ["all", 3]
    assert wakeups._broker._connection is connection  # type: ignore[union-attr]
    layer.close()


def test_a_receiver_that_is_full_is_no_failure(any_database: str, layer: Layer, wakeups: ByRabbitMQ) -> None:
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    full = layer.channel.queue_declare(exclusive=True, arguments=arguments).queue
    layer.channel.queue_bind(full, "groups", "updates")
    wakeups.send([commit("all") for _ in range(3)])
    assert [layer.wait()["updates"][0][1] for _ in range(3)] == [1, 2, 3]
    assert (wakeups.state, wakeups.announced, wakeups.unheard) == ("up", 1, 2)


def test_a_connection_cut_while_idle_is_replaced(
    any_database: str, rabbitmq: RabbitMQ, layer: Layer, wakeups: ByRabbitMQ
) -> None:
    wakeups.send([commit("all")])
    wakeups._broker._connection.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
    wakeups.send([commit("all")])
    assert [layer.wait()["updates"][0][1] for _ in range(2)] == [1, 2] and wakeups.skipped == 0


def test_a_database_connection_cut_while_idle_is_replaced(
    database: str, layer: Layer, wakeups: ByRabbitMQ
) -> None:
    commits = [commit("all")]
    if connections[database].vendor == "postgresql":
        connections[database].connection.close()
    wakeups.send(commits)
    assert layer.wait()["updates"][0][1] == 1


# Broker outages


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def stop(rabbitmq: RabbitMQ) -> Callable[[], object]:
    rabbitmq.kill()
    wait_until(lambda: not is_open(rabbitmq.port), 10, "the port to be closed", every=0.01)
    return rabbitmq.start


def pause(rabbitmq: RabbitMQ) -> Callable[[], object]:
    rabbitmq.pause()
    return rabbitmq.resume


def alarm(rabbitmq: RabbitMQ) -> Callable[[], object]:
    rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    return lambda: rabbitmq.ctl("set_vm_memory_high_watermark", "0.4")


@pytest.fixture(params=[stop, pause, alarm])
def trouble(
    request: pytest.FixtureRequest, rabbitmq: RabbitMQ
) -> Iterator[Callable[[], Callable[[], object]]]:
    """A function that starts an outage and returns a function that ends it. The fixture ends it at the
    latest.
    """
    ways_out: list[Callable[[], object]] = []

    def begin() -> Callable[[], object]:
        way_out = request.param(rabbitmq)

        def end() -> None:
            if ways_out:
                ways_out.pop()()

        ways_out.append(way_out)
        return end

    yield begin
    if ways_out:
        ways_out.pop()()


def test_trouble_and_recovery(
    any_database: str, rabbitmq: RabbitMQ, wakeups: ByRabbitMQ, trouble: Any, caplog: pytest.LogCaptureFixture
) -> None:
    wakeups.send([commit("all")])
    end = trouble()
    began = time.monotonic()
    wakeups.send([commit("all")])
    assert wakeups.state == "down" and time.monotonic() - began < SOON
    began = time.monotonic()
    wakeups.send([commit("all") for _ in range(10)])
    assert wakeups.skipped == 11 and time.monotonic() - began < 1, (
        "the sender must skip wake-ups and retry later"
    )
    assert caplog.text.count("accepts no wake-ups") == 1
    end()
    layer = Layer(rabbitmq.url)

    def announced() -> dict[str, Any] | None:
        wakeups.send([commit("all")])
        return layer.next()

    wait_until(announced, 20, "the broker to be used again")
    assert wakeups.state == "up"
    layer.close()


def test_recovery_is_noticed_without_a_commit(
    any_database: str, rabbitmq: RabbitMQ, wakeups: ByRabbitMQ, trouble: Any
) -> None:
    wakeups.send([commit("all")])
    end = trouble()
    wakeups.send([commit("all")])
    assert wakeups.state == "down"
    end()

    def is_up() -> bool:
        wakeups.idle()
        return wakeups.state == "up"

    wait_until(is_up, 20, "the broker to be found up again")


def test_a_request_is_not_delayed(
    any_database: str, rabbitmq: RabbitMQ, settings: Any, trouble: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wake-up costs microseconds and never waits, whether the broker is up or not.

    The limit is 1 ms for 99 of 100 requests (measure_publishing.py). It is higher here, for a busy machine.
    """
    settings.SLUICE_UPDATES_PUBLISHER_URL = rabbitmq.url
    settings.SLUICE_UPDATES_WAKE_UPS = True
    monkeypatch.setattr(conf, "is_test_run", lambda: False)  # in a test run, it waits
    ids = commit("all")
    end = None
    try:
        for begin in (None, trouble):
            end = begin and begin()
            costs = []
            for _ in range(300):
                began = time.perf_counter()
                sender.wake(ids)
                costs.append(time.perf_counter() - began)
            assert sorted(costs)[-15] < 0.001 and max(costs) < STEP_SECONDS / 2
    finally:
        if end:
            end()
        sender.flush(SOON)
        close_connections_of(sender._by_broker(rabbitmq.url))


def close_connections_of(running: Any) -> None:
    """Make the sender's thread close its connections, because only it can."""
    closed = threading.Event()

    def close(items: list[object]) -> None:
        running.way.close()
        closed.set()

    running._handle = close
    running.put([])
    assert closed.wait(30)
    sender._by_broker.cache_clear()


def test_the_brokers_name_does_not_resolve() -> None:
    began = time.monotonic()
    broker = Broker("amqp://guest:guest@rabbitmq.invalid/")
    with pytest.raises(BrokerDown, match=r"rabbitmq\.invalid"):
        broker.publish("groups", "updates", b"", {})
    assert time.monotonic() - began < SOON


def test_a_resolver_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **more: [answer.wait(30)][1:])
    broker = Broker("amqp://guest:guest@rabbitmq/")
    for within in (SOON, 0.1):  # one thread remains, not two
        began = time.monotonic()
        with pytest.raises(BrokerDown, match="resolver"):
            broker.publish("groups", "updates", b"", {})
        assert time.monotonic() - began < within
    answer.set()


def test_a_port_that_accepts_and_sends_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        began = time.monotonic()
        with pytest.raises(BrokerDown):
            Broker(f"amqp://guest:guest@127.0.0.1:{server.getsockname()[1]}/").publish("groups", "x", b"", {})
        assert time.monotonic() - began < SOON


def test_a_refused_login_is_reported(rabbitmq: RabbitMQ) -> None:
    with pytest.raises(BrokerDown, match=r"ACCESS_REFUSED|AccessRefused"):
        Broker(rabbitmq.url.replace("guest:guest", "guest:wrong")).publish("groups", "updates", b"", {})
    with pytest.raises(BrokerDown, match="refused"):
        Broker(f"amqp://guest:guest@127.0.0.1:{free_port()}/").publish("groups", "updates", b"", {})


def test_an_account_that_may_only_write_to_the_layers_exchange(
    any_database: str, rabbitmq: RabbitMQ, layer: Layer
) -> None:
    rabbitmq.ctl("add_user", "writer", "secret")
    try:
        url = rabbitmq.url.replace("guest:guest", "writer:secret")
        with pytest.raises(BrokerDown, match=r"NOT_ALLOWED|NotAllowed|access"):
            Broker(url).publish("groups", "updates", b"", {})
        rabbitmq.ctl("set_permissions", "writer", "^$", "^groups$", "^$")
        wakeups = ByRabbitMQ(url)
        wakeups.send([commit("all")])
        assert layer.wait()["updates"][0][:2] == ["all", 1]
        with pytest.raises(BrokerDown, match="ACCESS_REFUSED"):
            Broker(url).publish("amq.direct", "updates", b"", {})
        wakeups.close()
    finally:
        rabbitmq.ctl("delete_user", "writer")


def test_idle_connections_are_kept_by_heartbeats(rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "HEARTBEAT_SECONDS", 1)
    kept, forgotten = Broker(rabbitmq.url), Broker(rabbitmq.url)
    for broker in (kept, forgotten):
        broker.publish("groups", "updates", b"", {})
    connection, cut = kept._connection, forgotten._connection

    def the_forgotten_is_cut() -> bool:
        kept.tick()
        cut.sock.settimeout(0)
        try:
            return cut.sock.recv(1000) == b""
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    wait_until(the_forgotten_is_cut, 20, "the connection without heartbeats to be cut")
    kept.publish("groups", "updates", b"", {})
    assert kept._connection is connection
    forgotten.publish("groups", "updates", b"", {})
    assert forgotten._connection is not cut
    for broker in (kept, forgotten):
        broker.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_opens_its_own_connection(rabbitmq: RabbitMQ, layer: Layer) -> None:
    broker = Broker(rabbitmq.url)
    body = msgpack.packb({"type": "updates.committed", "__asgi_group__": "updates", "updates": []})
    broker.publish("groups", "updates", body, {"expiration": "60000"})
    ours = broker._connection
    child = os.fork()
    if child == 0:
        status = 1
        try:
            broker.publish("groups", "updates", body, {"expiration": "60000"})
            status = 0 if broker._connection is not ours else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    broker.publish("groups", "updates", body, {"expiration": "60000"})
    assert broker._connection is ours, "the child has cut the parent's connection"
    for _ in range(3):
        layer.wait()
    broker.close()


def test_through_the_thread_to_the_layer(
    database: str, layer: Layer, rabbitmq: RabbitMQ, settings: Any
) -> None:
    settings.SLUICE_UPDATES_PUBLISHER_URL = rabbitmq.url
    settings.SLUICE_UPDATES_WAKE_UPS = True
    with transaction.atomic(using=database):
        publish("all", "e", {})
        publish("user:7", "e", {})
    assert [update[0] for update in layer.wait()["updates"]] == ["all", "user:7"]
    assert sender.flush(10) and sender.status()["announced"] == 2
    close_connections_of(sender._by_broker(rabbitmq.url))


def test_the_password_file_may_appear_later(
    rabbitmq: RabbitMQ, settings: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, any_database: str
) -> None:
    """Without the password the site still publishes, with one log line and no wake-up."""
    file = tmp_path / "password"
    settings.SLUICE_UPDATES_PUBLISHER_PASSWORD_FILE = str(file)
    wakeups = ByRabbitMQ(rabbitmq.url.replace(":guest@", ":wrong@"))
    wakeups.send([commit("all")])
    assert (wakeups.state, wakeups.skipped) == ("down", 1)
    assert f"No such file or directory: '{file}'" in caplog.text
    file.write_text("guest\n")
    wakeups._retry_at = 0
    wakeups.send([commit("all")])
    assert wakeups.state == "up"


def test_without_a_broker_there_is_no_thread(any_database: str, settings: Any) -> None:
    settings.SLUICE_UPDATES_PUBLISHER_URL = ""
    before = threading.active_count()
    commit("all")
    assert threading.active_count() == before
    assert sender.flush() and sender.status() == {"state": "off"}


@pytest.mark.parametrize(("wanted", "sends"), [(None, False), (False, False), (True, True)])
def test_a_test_run_sends_nothing_unless_asked(settings: Any, wanted: bool | None, sends: bool) -> None:
    """This is one. Others are in test_runners.py."""
    settings.SLUICE_UPDATES_PUBLISHER_URL = "amqp://broker.invalid/"
    settings.SLUICE_UPDATES_WAKE_UPS = wanted
    assert sender.is_wanted() is sends
