"""Previews: images of boxes over a WebSocket of their own, made by the Channels worker."""

from __future__ import annotations

import asyncio
import base64
import io
import statistics
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness import raw
from harness.client.websocket import Closed
from harness.preview import Preview, previewing
from harness.stack import Stack
from harness.volume import sample, voxels
from harness.waiting import wait_until


def test_the_picture_shows_the_volume(site: Stack) -> None:
    volume = sample(site)
    box = {"x": [40, 110], "y": [50, 130], "z": [60, 81]}
    frame = previewing(site, lambda preview: preview.of(box))
    assert frame["event"] == "preview", frame
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(frame["payload"]["png"]))))
    (plane,) = voxels(site, volume.id, box | {"z": [70, 71]})
    assert frame["payload"]["index"] == 70 and picture.shape == plane.shape == (80, 70)
    if plane.dtype != np.uint8:
        low, high = np.percentile(plane, (1, 99))
        plane = np.clip((plane - low) / (high - low), 0, 1) * 255
    assert np.abs(picture - plane.astype(float)).max() <= 1


def test_a_browser_that_draws_gets_its_last_box_and_soon(site: Stack) -> None:
    volume = sample(site)

    async def draw(preview: Preview) -> list[float]:
        for edge in range(1, 60):  # without waiting for responses
            last = await preview.ask(volume.box(0, 0, 0, edge))
        while (frame := await preview.answer())["payload"]["request"] != last:
            pass
        assert frame["payload"]["width"] == 59
        assert preview.number - 10 < last
        taken = []
        for place in range(60):  # each after the previous response
            began = time.perf_counter()
            assert (await preview.of(volume.box(place, place, place, 64)))["event"] == "preview"
            taken.append(time.perf_counter() - began)
        return taken

    taken = sorted(previewing(site, draw))
    print(f"preview of 64 × 64: p50 {statistics.median(taken) * 1000:.1f} ms, p95 {taken[56] * 1000:.1f} ms")
    assert statistics.median(taken) < 0.5  # generous: other tests share this machine


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403)],
    ids=["foreign", "null"],
)
def test_a_foreign_page_is_refused(site: Stack, headers: dict[str, str], status: int) -> None:
    target = f"{site.prefix}/channels/volumes/{sample(site).id}/preview/"
    answer = raw.get(site.port, target, headers=raw.UPGRADE | headers)
    assert (answer.status, answer.backend) == (status, "asgi")


def test_without_a_session_the_socket_is_refused(site: Stack) -> None:
    with pytest.raises(Closed) as closed:
        previewing(site, Preview.answer, user=None)
    assert closed.value.code == 4001


def test_bad_requests_are_answered(site: Stack) -> None:
    async def scenario(preview: Preview) -> None:
        frame = await preview.of({"x": [0, 10**30], "y": [0, 1], "z": [0, 1]})
        assert (frame["payload"]["code"], frame["payload"]["field"]) == ("bad-box", "box.x")
        for _ in range(5):
            await preview.socket.send("no")
            assert (await preview.answer())["payload"]["code"] == "bad-frame"
        await preview.answer()

    with pytest.raises(Closed) as closed:
        previewing(site, scenario)
    assert closed.value.code == 4000


def test_a_worker_that_dies_is_replaced(fresh: Stack) -> None:
    """On the same socket: an error within 3 s while no worker runs, then images again."""
    box = sample(fresh).box(0, 0, 0)

    async def scenario(preview: Preview) -> None:
        assert (await preview.of(box))["event"] == "preview"
        await asyncio.to_thread(fresh.service("worker")[0].kill)
        began = time.monotonic()
        frame = await preview.of(box)
        assert (frame["payload"]["code"], time.monotonic() - began < 3) == ("no-answer", True)
        await asyncio.to_thread(fresh.service("worker").start)
        deadline = time.monotonic() + 30
        while (frame := await preview.of(box))["event"] != "preview":
            assert time.monotonic() < deadline, frame

    previewing(fresh, scenario)


def test_without_a_broker_there_is_an_error_and_with_it_pictures_again(fresh: Stack) -> None:
    box = sample(fresh).box(0, 0, 0)

    async def scenario(preview: Preview) -> dict[str, Any]:
        return await preview.of(box)

    fresh.service("worker").wait_healthy(30)
    fresh.service("rabbitmq").stop()
    began = time.monotonic()
    frame = previewing(fresh, scenario)
    assert frame["payload"]["code"] == "no-broker", frame
    assert time.monotonic() - began < 5
    fresh.service("rabbitmq").start()
    wait_until(lambda: previewing(fresh, scenario)["event"] == "preview", 60, "a picture")
