"""What may become of RabbitMQ, and of the messages on their way through it."""

from __future__ import annotations

import heapq
import itertools
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType

import amqp

from harness.engine import engine
from harness.faults import TERM
from harness.stack import Stack
from harness.waiting import wait_until

VHOST, EXCHANGE, GROUP = "asgi", "groups", "updates"
COMMITTED = b"updates.committed"
WATERMARK = "256MiB"  # as in images/rabbitmq/rabbitmq.conf
DISK_FREE = "256MiB"

Trouble = Callable[[Stack], AbstractContextManager[object]]
Delivery = tuple[float, bytes]  # in so many seconds, this message
Policy = Callable[[bytes], Sequence[Delivery]]


def rabbitmqctl(stack: Stack, *arguments: str) -> str:
    """The command's output. Raises AssertionError if it fails."""
    done = stack.rabbitmqctl(*arguments)
    assert done.code == 0, f"rabbitmqctl {' '.join(arguments)}: {done.output}"
    return done.output


def stopped(stack: Stack) -> AbstractContextManager[object]:
    """Not there, and started again at the end."""
    return TERM(stack.service("rabbitmq"))


@contextmanager
def memory_alarm(stack: Stack) -> Iterator[None]:
    """It takes nothing from publishers for want of memory."""
    rabbitmqctl(stack, "set_vm_memory_high_watermark", "0.00001")
    try:
        _wait_for_alarm(stack, "memory")
        yield
    finally:
        rabbitmqctl(stack, "set_vm_memory_high_watermark", "absolute", WATERMARK)


@contextmanager
def disk_alarm(stack: Stack) -> Iterator[None]:
    """It takes nothing from publishers for want of disk space."""
    rabbitmqctl(stack, "set_disk_free_limit", "1000000GB")
    try:
        _wait_for_alarm(stack, "disk")
        yield
    finally:
        rabbitmqctl(stack, "set_disk_free_limit", DISK_FREE)


def _wait_for_alarm(stack: Stack, of: str) -> None:
    ask = "rabbit_alarm:get_alarms()."
    wait_until(lambda: of in rabbitmqctl(stack, "eval", ask), 15, f"an alarm of {of}", every=0.5)


@contextmanager
def connections_closed(stack: Stack) -> Iterator[None]:
    """All connections are closed by force, once."""
    rabbitmqctl(stack, "close_all_connections", "by force")
    yield


@contextmanager
def wiped(stack: Stack) -> Iterator[None]:
    """Gone with its data: queues, exchanges and accounts. It begins anew at the end, with an empty volume."""
    stack.compose.run("rm", "--stop", "--force", "rabbitmq")
    engine().volumes.get(f"{stack.name}_rabbitmq").remove()
    try:
        yield
    finally:
        stack.up("rabbitmq", options=("--no-deps",), wait=False)


# ---- what becomes of messages; each is one of Courier's policies


def dropped(body: bytes) -> Sequence[Delivery]:
    """Nobody gets it."""
    return ()


def doubled(body: bytes) -> Sequence[Delivery]:
    """It comes twice."""
    return ((0, body), (0, body))


def delayed(body: bytes) -> Sequence[Delivery]:
    """It comes three seconds late, when the poll has been there before it."""
    return ((3.0, body),)


def reordered() -> Policy:
    """Every other one overtakes the one before it."""
    waiting: list[bytes] = []

    def policy(body: bytes) -> Sequence[Delivery]:
        if not waiting:
            waiting.append(body)
            return ()
        return ((0, body), (0, waiting.pop()))

    return policy


class Courier:
    """Carries the wake-ups from the publishers to the hubs, in the broker's place, by a policy of its own.

    The hubs' queues are taken off the group and one of its own is put there; what arrives in it goes to each
    hub's queue as the policy says. Other messages, such as the loop-backs of health, are passed on as they
    are. `carried` counts the wake-ups.
    """

    def __init__(self, stack: Stack, policy: Policy) -> None:
        self.stack = stack
        self.policy = policy
        self.carried = 0
        self._queues: list[str] = []
        self._stop = threading.Event()
        self._trouble: list[BaseException] = []
        self._due: list[tuple[float, int, bytes]] = []
        self._numbers = itertools.count()

    def __enter__(self) -> Courier:
        self._queues = re.findall(r'"(channels_\w+)"', rabbitmqctl(self.stack, "eval", _BOUND))
        assert self._queues, "no hub is bound to the group"
        ready = threading.Event()
        self._thread = threading.Thread(target=self._guarded, args=(ready,), name="courier", daemon=True)
        self._thread.start()
        assert ready.wait(10) and not self._trouble, f"the courier can't begin: {self._trouble}"
        for queue in self._queues:
            rabbitmqctl(self.stack, "eval", _BINDING.format(action="remove", queue=queue))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for queue in self._queues:
            rabbitmqctl(self.stack, "eval", _BINDING.format(action="add", queue=queue))
        self._stop.set()
        self._thread.join(10)
        assert not self._trouble, f"the courier failed: {self._trouble}"

    def _guarded(self, ready: threading.Event) -> None:
        try:
            self._run(ready)
        except Exception as error:
            self._trouble.append(error)
            ready.set()

    def _run(self, ready: threading.Event) -> None:
        address = self.stack.service("rabbitmq")[0].addresses["broker"]
        with amqp.Connection(
            f"{address}:5672",
            userid="layer",
            password=self.stack.secrets()["mq_layer"],
            virtual_host=VHOST,
            connect_timeout=5,
        ) as connection:
            channel = connection.channel()
            mine = channel.queue_declare("channels_courier", exclusive=True).queue
            channel.queue_bind(mine, EXCHANGE, GROUP)
            channel.basic_consume(mine, callback=self._take, no_ack=True)
            ready.set()
            while not self._stop.is_set():
                with suppress(TimeoutError):
                    connection.drain_events(timeout=0.02)
                while self._due and self._due[0][0] <= time.monotonic():
                    self._deliver(channel, heapq.heappop(self._due)[2])

    def _take(self, message: amqp.Message) -> None:
        body: bytes = message.body if isinstance(message.body, bytes) else message.body.encode("latin-1")
        deliveries: Sequence[Delivery] = ((0, body),)
        if COMMITTED in body:
            self.carried += 1
            deliveries = self.policy(body)
        for seconds, text in deliveries:
            heapq.heappush(self._due, (time.monotonic() + seconds, next(self._numbers), text))

    def _deliver(self, channel: amqp.Channel, body: bytes) -> None:
        for queue in self._queues:
            channel.basic_publish(amqp.Message(body, expiration="60000"), "", queue)


_BOUND = 'rabbit_binding:list_for_source({resource, <<"asgi">>, exchange, <<"groups">>}).'
_BINDING = (
    'rabbit_binding:{action}({{binding, {{resource, <<"asgi">>, exchange, <<"groups">>}}, <<"updates">>, '
    '{{resource, <<"asgi">>, queue, <<"{queue}">>}}, []}}, <<"courier">>).'
)
