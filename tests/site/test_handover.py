"""Which crops are handed over to Celery, when again, and what this costs a request."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import amqp
import pytest
from django.test import Client
from django.utils import timezone

from harness.servers import RabbitMQ, free_port
from harness.waiting import wait_until
from sluice_stack.celery.delays import QUEUE
from volumes import claims, handover
from volumes.models import Crop

pytestmark = pytest.mark.django_db(transaction=True)


def ago(seconds: float) -> Any:
    return timezone.now() - timedelta(seconds=seconds)


@pytest.fixture
def crop(ada: Any, volume: Any) -> Crop:
    crop = Crop.objects.create(owner=ada, volume=volume, x0=0, x1=1, y0=0, y1=1, z0=0, z1=1)
    Crop.objects.update(created=ago(3600))
    return crop


@pytest.mark.parametrize(
    ("row", "waits"),
    [
        ({}, True),
        ({"created": 1}, False),  # its request's own thread handles it
        ({"handed_over_at": 10, "hand_overs": 1}, False),
        ({"handed_over_at": 70, "hand_overs": 1}, True),
        ({"handed_over_at": 70, "hand_overs": 2}, False),
        ({"handed_over_at": 130, "hand_overs": 2}, True),
        ({"handed_over_at": 890, "hand_overs": 30}, False),
        ({"handed_over_at": 910, "hand_overs": 30}, True),
        ({"state": "done"}, False),
        ({"state": "failed"}, False),
        ({"state": "running", "started": 10, "handed_over_at": 100, "hand_overs": 1}, False),
        ({"state": "running", "started": 100, "handed_over_at": 100, "hand_overs": 1}, True),
        ({"state": "running", "started": 100, "handed_over_at": 10, "hand_overs": 1}, False),
    ],
)
def test_which_wait(crop: Crop, row: dict[str, Any], waits: bool) -> None:
    times = ("created", "started", "handed_over_at")
    Crop.objects.update(**{name: ago(value) if name in times else value for name, value in row.items()})
    assert handover._waiting() == ([crop.pk] if waits else [])


def test_a_crop_that_is_being_cut_is_not_handed_over(crop: Crop) -> None:
    Crop.objects.update(state="running", started=ago(600), handed_over_at=ago(600), hand_overs=1)
    assert handover._waiting() == [crop.pk]
    with claims.claim(crop.pk):
        assert handover._waiting() == []


def test_without_a_broker_nothing_is_tried(crop: Crop, settings: Any) -> None:
    settings.CELERY_BROKER_URL = ""
    assert handover.hand_over_waiting() == 0
    assert Crop.objects.get().handed_over_at is None


def test_a_broker_that_is_down_is_a_line_in_the_log(
    crop: Crop, tasks_at: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    tasks_at(f"amqp://tasks:secret@127.0.0.1:{free_port()}/celery")
    began = time.monotonic()
    assert handover.hand_over_waiting() == 0
    assert time.monotonic() - began < 5
    assert "1 crops wait for the broker" in caplog.text and "secret" not in caplog.text
    assert Crop.objects.get().handed_over_at is None


def test_ordering_costs_no_time_whatever_the_broker_does(
    as_ada: Client,
    volume: Any,
    box: Any,
    tasks_at: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks_at("amqp://tasks:secret@192.0.2.1:5672/celery")  # an address that never responds
    hand_over = handover.hand_over_soon
    costs: list[float] = []

    def timed(crop_id: int) -> None:
        began = time.perf_counter()
        try:
            hand_over(crop_id)
        finally:
            costs.append(time.perf_counter() - began)

    monkeypatch.setattr(handover, "hand_over_soon", timed)
    body = json.dumps({"box": box})
    for _ in range(20):
        answer = as_ada.post(f"/volumes/{volume.pk}/crops/", body, content_type="application/json")
        assert answer.status_code == 202
    assert len(costs) == 20 and sorted(costs)[10] < 0.001
    assert Crop.objects.filter(state="queued", handed_over_at=None).count() == 20


@pytest.fixture
def queue(rabbitmq: RabbitMQ, tasks_vhost: str) -> Any:
    """Celery's vhost and queue, as the image defines them, and a channel that reads the queue."""
    connection = amqp.Connection(f"127.0.0.1:{rabbitmq.port}", virtual_host=tasks_vhost)
    connection.connect()
    channel = connection.channel()
    channel.queue_declare(QUEUE, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
    yield channel
    connection.close()


def test_an_order_is_a_durable_task_that_celery_understands(
    as_ada: Client, volume: Any, box: Any, queue: Any
) -> None:
    answer = as_ada.post(
        f"/volumes/{volume.pk}/crops/", json.dumps({"box": box}), content_type="application/json"
    )
    crop_id = answer.json()["crop_id"]
    message = wait_until(lambda: queue.basic_get(QUEUE, no_ack=True), 10, "the task in the queue")
    assert message.properties["delivery_mode"] == 2
    assert message.headers["task"] == "volumes.cut_crop"
    assert json.loads(message.body)[:2] == [[crop_id], {}]
    wait_until(lambda: Crop.objects.get().handed_over_at, 10, "the row to say so")
    assert Crop.objects.get().hand_overs == 1


def test_beat_hands_over_crops_that_were_ordered_without_a_broker(crop: Crop, queue: Any) -> None:
    assert handover.hand_over_waiting() == 1
    assert handover.hand_over_waiting() == 0
    assert json.loads(queue.basic_get(QUEUE, no_ack=True).body)[0] == [crop.pk]


def test_a_task_that_was_lost_with_the_broker_is_created_again(crop: Crop, queue: Any) -> None:
    handover.hand_over_waiting()
    queue.queue_purge(QUEUE)
    Crop.objects.update(handed_over_at=ago(61))
    assert handover.hand_over_waiting() == 1
    assert queue.basic_get(QUEUE, no_ack=True) is not None
