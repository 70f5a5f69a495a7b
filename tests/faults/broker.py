"""Faults of RabbitMQ, and of the messages that it carries."""

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
FOREIGN = b"foreign"  # the event of faults.foreign
WATERMARK = "256MiB"  # as in images/rabbitmq/rabbitmq.conf
DISK_FREE = "256MiB"

Trouble = Callable[[Stack], AbstractContextManager[object]]
Delivery = tuple[float, bytes]  # deliver this message after this many seconds
Policy = Callable[[bytes], Sequence[Delivery]]


def rabbitmqctl(stack: Stack, *arguments: str) -> str:
    """Run the command and return its output. Raises AssertionError if it fails."""
    done = stack.rabbitmqctl(*arguments)
    assert done.code == 0, f"rabbitmqctl {' '.join(arguments)}: {done.output}"
    return done.output


def stopped(stack: Stack) -> AbstractContextManager[object]:
    """Stop RabbitMQ during the block."""
    return TERM(stack.service("rabbitmq"))


@contextmanager
def memory_alarm(stack: Stack) -> Iterator[None]:
    """Raise the memory alarm: RabbitMQ accepts nothing from publishers."""
    rabbitmqctl(stack, "set_vm_memory_high_watermark", "0.00001")
    try:
        _wait_for_alarm(stack, "memory")
        yield
    finally:
        rabbitmqctl(stack, "set_vm_memory_high_watermark", "absolute", WATERMARK)


@contextmanager
def disk_alarm(stack: Stack) -> Iterator[None]:
    """Raise the disk alarm: RabbitMQ accepts nothing from publishers."""
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
    """Close all connections by force, once."""
    rabbitmqctl(stack, "close_all_connections", "by force")
    yield


@contextmanager
def wiped(stack: Stack) -> Iterator[None]:
    """Remove RabbitMQ with its data: queues, exchanges and accounts. At the end it starts with an empty
    volume.
    """
    stack.compose.run("rm", "--stop", "--force", "rabbitmq")
    engine().volumes.get(f"{stack.name}_rabbitmq").remove()
    try:
        yield
    finally:
        stack.up("rabbitmq", options=("--no-deps",), wait=False)


# ---- policies of the Courier


def dropped(body: bytes) -> Sequence[Delivery]:
    """Deliver nothing."""
    return ()


def doubled(body: bytes) -> Sequence[Delivery]:
    """Deliver the message twice."""
    return ((0, body), (0, body))


def delayed(body: bytes) -> Sequence[Delivery]:
    """Deliver the message three seconds late, after the poll."""
    return ((3.0, body),)


def reordered() -> Policy:
    """Deliver every second message before the one that preceded it."""
    waiting: list[bytes] = []

    def policy(body: bytes) -> Sequence[Delivery]:
        if not waiting:
            waiting.append(body)
            return ()
        return ((0, body), (0, waiting.pop()))

    return policy


class Courier:
    """Carries the wake-ups from the publishers to the hubs in the broker's place, with a policy.

    It unbinds the hubs' queues from the group and binds its own. It forwards each wake-up to each hub's queue
    as the policy decides, and other messages, such as the health check's, unchanged. `carried` counts the
    wake-ups of the stack's own publishers.
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
        assert ready.wait(10) and not self._trouble, f"the courier can't start: {self._trouble}"
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
            self.carried += FOREIGN not in body
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
