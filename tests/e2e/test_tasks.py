"""Celery's standard calls from Gunicorn's account: a task of the site, with and without a countdown."""

from __future__ import annotations

import time

from harness.stack import Stack
from harness.volume import sample
from harness.waiting import wait_until

_ORDER = """
from django.contrib.auth import get_user_model
from django.db import transaction
from volumes.models import Crop
from volumes.tasks import cut_crop
owner = get_user_model().objects.get(username="alice")
with transaction.atomic():
    crop = Crop.objects.create(owner=owner, volume_id={volume}, x0=0, x1=9, y0=0, y1=9, z0=0, z1=9)
    cut_crop.apply_async_on_commit((crop.pk,), countdown={countdown})
print(crop.pk)
"""


def order(stack: Stack, countdown: int) -> str:
    return stack.manage(_ORDER.format(volume=sample(stack).id, countdown=countdown)).split()[-1]


def state(stack: Stack, crop: str) -> str:
    [[state]] = stack.psql(f"SELECT state FROM volumes_crop WHERE id = {crop}")
    return state


def test_a_task_is_run_after_the_commit(site: Stack) -> None:
    site.browser("alice")
    crop = order(site, 0)
    wait_until(lambda: state(site, crop) == "done", 30, "the crop")
    [[attempts]] = site.psql(f"SELECT attempts FROM volumes_crop WHERE id = {crop}")
    assert attempts == "1"


def test_a_countdown_waits_in_the_broker_and_blocks_nothing(site: Stack) -> None:
    site.browser("alice")
    later = order(site, 20)
    ordered = time.monotonic()
    soon = order(site, 0)
    wait_until(lambda: state(site, soon) == "done", 15, "the crop without a countdown")
    assert state(site, later) == "queued"
    wait_until(lambda: state(site, later) == "done", 40, "the crop with one")
    assert time.monotonic() - ordered > 18


def test_the_worker_has_made_the_queues_of_the_delays(site: Stack) -> None:
    listed = site.rabbitmqctl("list_queues", "-p", "celery", "name", "type")
    assert listed.code == 0, listed.output
    found = {tuple(line.split()) for line in listed.output.splitlines()}
    assert {(f"celery_delayed_{level}", "quorum") for level in range(28)} <= found
