"""Previews: the real consumer and the real worker, over Channels' in-memory layer."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy
import pytest
from channels.db import database_sync_to_async
from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.routing import ChannelNameRouter, URLRouter
from channels.testing import WebsocketCommunicator
from django.db import connections
from PIL import Image

import mysite
from harness.waiting import wait_until
from sluice_layer import LayerUnavailable
from sluice_layer.worker import GracefulWorker
from volumes import previews, routing, slices
from volumes.box import Box, Range

BOX = {"x": [10, 74], "y": [5, 50], "z": [2, 29]}
APP = Path(mysite.__file__).parent.parent
Scenario = Callable[["Browser"], Awaitable[None]]


class Browser(WebsocketCommunicator):
    """A page's socket, and the layer behind it."""

    def __init__(self, volume_id: int, layer: InMemoryChannelLayer) -> None:
        super().__init__(URLRouter(routing.websocket_urlpatterns), f"/channels/volumes/{volume_id}/preview/")
        self.layer = layer

    async def ask(self, number: int, box: Any = BOX) -> None:
        await self.send_json_to({"request": number, "box": box})

    async def answer(self, within: float = 5) -> dict[str, Any]:
        frame: dict[str, Any] = await self.receive_json_from(within)
        return frame

    async def error(self) -> dict[str, Any]:
        """The payload of the next frame, which must be an error."""
        frame = await self.answer()
        assert frame["event"] == "error", frame
        payload: dict[str, Any] = frame["payload"]
        return payload


def run(
    scenario: Scenario, volume_id: int, *, worker: bool = True, layer: InMemoryChannelLayer | None = None
) -> None:
    """Run the scenario with a connected browser and, by default, a running worker."""
    layer = layer or InMemoryChannelLayer()

    async def play() -> None:
        browser = Browser(volume_id, layer)
        assert (await browser.connect())[0]
        async with working(layer) if worker else nobody():
            await scenario(browser)
        await browser.disconnect()
        await database_sync_to_async(connections.close_all)()

    before = channel_layers.set("default", layer)
    try:
        asyncio.run(play())
    finally:
        channel_layers.set("default", before)


@asynccontextmanager
async def working(layer: InMemoryChannelLayer) -> AsyncIterator[None]:
    application = ChannelNameRouter(routing.channel_consumers)
    worker = GracefulWorker(application, [previews.CHANNEL], layer, alive_file="", stop_timeout=1)
    task = asyncio.create_task(worker.arun())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def nobody() -> AsyncIterator[None]:
    yield


def pixels(frame: dict[str, Any]) -> numpy.ndarray:
    assert frame["event"] == "preview", frame
    return numpy.asarray(Image.open(io.BytesIO(base64.b64decode(frame["payload"]["png"]))))


@pytest.fixture
def volume_id(transactional_db: None, volume: Any) -> int:
    number: int = volume.pk
    return number


def test_the_picture_is_the_middle_slice_stretched(volume_id: int, voxels: numpy.ndarray) -> None:
    async def scenario(browser: Browser) -> None:
        await browser.ask(7)
        frame = await browser.answer()
        assert {name: frame["payload"][name] for name in ("request", "index", "width", "height")} == {
            "request": 7,
            "index": 15,
            "width": 64,
            "height": 45,
        }
        plane = voxels[15, 5:50, 10:74].astype(float)
        low, high = numpy.percentile(plane, (1, 99))
        expected = numpy.clip((plane - low) / (high - low), 0, 1) * 255
        assert numpy.abs(pixels(frame) - expected).max() <= 1

    run(scenario, volume_id)


@pytest.mark.image
def test_after_the_warm_up_the_first_picture_loads_nothing(
    elsewhere: Callable[[str], subprocess.Popen[bytes]], volume_id: int
) -> None:
    code = f"""
import sys
from volumes import previews
from volumes.models import Volume
Volume.objects.get()
previews.warm_up()
before = set(sys.modules)
event, _ = previews._make("{volume_id}", '{json.dumps(BOX)}')
assert (event, set(sys.modules) - before) == ("preview", set())
"""
    assert elsewhere(code).wait(60) == 0


def test_a_worker_is_warm_before_anybody_asks(
    tmp_path: Path, environment_of_others: dict[str, str], db: None
) -> None:
    """When its heartbeat shows that it takes messages, NumPy's libraries are already loaded."""
    alive = tmp_path / "alive"
    worker = subprocess.Popen(
        [sys.executable, "manage.py", "runworker", "previews", "--alive-file", str(alive)],
        cwd=APP,
        env=environment_of_others,
    )
    try:
        wait_until(alive.exists, 60, "a heartbeat", fatal=lambda: "it ended" if worker.poll() else None)
        assert "/numpy/" in Path(f"/proc/{worker.pid}/maps").read_text()
    finally:
        worker.terminate()
        assert worker.wait(30) == 0


def test_only_the_latest_request_is_answered(volume_id: int) -> None:
    """The first one is in progress when the others arrive."""

    async def scenario(browser: Browser) -> None:
        for number in range(1, 8):
            await browser.ask(number, BOX | {"z": [number, number + 1]})
        await asyncio.sleep(0)
        async with working(browser.layer):
            frame = await browser.answer()
            assert (frame["payload"]["request"], frame["payload"]["index"]) == (7, 7)
            assert await browser.receive_nothing(0.2)
            await browser.ask(8)  # afterwards all works as before
            assert (await browser.answer())["payload"]["request"] == 8

    run(scenario, volume_id, worker=False)


def test_a_browser_has_at_most_one_request_with_the_workers(volume_id: int) -> None:
    async def scenario(browser: Browser) -> None:
        for number in range(50):
            await browser.ask(number)
        message = await browser.layer.receive(previews.CHANNEL)
        assert message["serial"] == 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(browser.layer.receive(previews.CHANNEL), 0.2)

    run(scenario, volume_id, worker=False)


def test_without_a_worker_there_is_an_error_within_3_seconds(volume_id: int) -> None:
    async def scenario(browser: Browser) -> None:
        began = time.monotonic()
        await browser.ask(1)
        error = await browser.error()
        assert time.monotonic() - began < 3
        assert (error["request"], error["code"]) == (1, "no-answer")
        # A worker that starts now has nothing to do with it, and the next request is a new one.
        async with working(browser.layer):
            await browser.ask(2)
            assert (await browser.answer())["payload"]["request"] == 2
            assert await browser.receive_nothing(0.2)

    run(scenario, volume_id, worker=False)


def test_a_worker_skips_requests_that_are_no_longer_wanted(volume_id: int, monkeypatch: Any) -> None:
    made: list[str] = []
    make = previews._make

    def watched(volume: str, box: str) -> previews.Answer:
        made.append(volume)
        return make(volume, box)

    monkeypatch.setattr(previews, "_make", watched)

    async def scenario(browser: Browser) -> None:
        late = {"type": "preview.make", "reply_to": "x!y", "serial": 1, "volume": "1", "box": "{}"}
        await browser.layer.send(previews.CHANNEL, late | {"wanted_until": time.time() - 0.1})
        await browser.ask(1)
        assert (await browser.answer())["event"] == "preview"
        assert made == [str(volume_id)]

    run(scenario, volume_id)


class Failing(InMemoryChannelLayer):
    """A layer that can send nothing to workers, for the given reason."""

    def __init__(self, reason: Exception | None) -> None:
        super().__init__()
        self.reason = reason

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        if channel == previews.CHANNEL:
            if self.reason is None:
                await asyncio.Event().wait()  # stalls
            else:
                raise self.reason
        await super().send(channel, message)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (ChannelFull(), "busy"),
        (LayerUnavailable("down"), "no-broker"),
        (None, "no-broker"),
    ],
    ids=["full", "down", "stalled"],
)
def test_a_layer_that_can_not_send(volume_id: int, reason: Exception | None, code: str) -> None:
    async def scenario(browser: Browser) -> None:
        for number in (1, 2):  # the socket stays usable
            await browser.ask(number)
            error = await browser.error()
            assert (error["request"], error["code"]) == (number, code)

    run(scenario, volume_id, worker=False, layer=Failing(reason))


@pytest.mark.parametrize(
    ("box", "field"),
    [
        (None, "box"),
        ([], "box"),
        ("\ud800", "box"),
        ({}, "box.x"),
        (BOX | {"w": [0, 1]}, "box.w"),
        (BOX | {"x": [0, 101]}, "box.x"),
        (BOX | {"y": [5, 5]}, "box.y"),
        (BOX | {"z": [9, 3]}, "box.z"),
        (BOX | {"z": [0, 10**30]}, "box.z"),
        (BOX | {"z": [0, 1.5]}, "box.z"),
        (BOX | {"z": [[[[]]], 1]}, "box.z"),
    ],
    ids=str,
)
def test_a_bad_box(volume_id: int, box: Any, field: str) -> None:
    async def scenario(browser: Browser) -> None:
        await browser.ask(3, box)
        error = await browser.error()
        assert (error["request"], error["code"], error["field"]) == (3, "bad-box", field)

    run(scenario, volume_id)


@pytest.mark.parametrize("number", [10**6, 10**25], ids=["unknown", "larger than any"])
def test_an_unknown_volume(transactional_db: None, number: int) -> None:
    async def scenario(browser: Browser) -> None:
        await browser.ask(1)
        assert (await browser.error())["code"] == "no-volume"

    run(scenario, number)


def test_a_volume_whose_data_is_gone(volume_id: int, volume: Any) -> None:
    volume.path.rename(volume.path.with_name("elsewhere"))

    async def scenario(browser: Browser) -> None:
        await browser.ask(1)
        assert (await browser.error())["code"] == "no-data"

    run(scenario, volume_id)


BAD = [
    "",
    "{",
    "[]",
    "7",
    "[" * 3000,
    '{"request": 1}',
    '{"request": 1, "box": {}, "more": 1}',
    '{"request": -1, "box": {}}',
    '{"request": true, "box": {}}',
    '{"request": 1.0, "box": {}}',
    '{"request": 9007199254740992, "box": {}}',
    '{"request": ' + "9" * 4000 + "}",
    '{"request": 1, "box": "' + "x" * 5000 + '"}',
    b"{}",
]


@pytest.mark.parametrize("frame", BAD, ids=lambda frame: repr(frame)[:40])
def test_a_bad_frame_gets_an_error_and_the_fifth_closes_the_socket(
    volume_id: int, frame: str | bytes
) -> None:
    async def scenario(browser: Browser) -> None:
        async def send() -> None:
            kind = "bytes" if isinstance(frame, bytes) else "text"
            await browser.send_input({"type": "websocket.receive", kind: frame})

        await send()
        error = await browser.error()
        assert error["code"] == "bad-frame" and "request" not in error
        await browser.ask(5)
        assert (await browser.answer())["payload"]["request"] == 5
        for _ in range(4):
            await send()
            assert (await browser.error())["code"] == "bad-frame"
        assert await browser.receive_output(5) == {"type": "websocket.close", "code": 4000}

    run(scenario, volume_id)


def test_a_client_that_requests_but_does_not_read_is_cut(
    volume_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sluice_updates import limits

    monkeypatch.setattr(limits, "UNSENT_BYTES", -1)

    async def scenario(browser: Browser) -> None:
        await browser.ask(1)
        assert await browser.receive_output(5) == {"type": "websocket.close", "code": 4008}

    run(scenario, volume_id)


# Slices only.


def picture(plane: numpy.ndarray) -> numpy.ndarray:
    height, width = plane.shape
    box = Box(Range(0, width), Range(0, height), Range(0, 1))
    made = slices.middle_slice(plane[None], box)
    shown = numpy.asarray(Image.open(io.BytesIO(made.png)))
    assert shown.shape == (made.height, made.width) and shown.dtype == numpy.uint8
    return shown


def test_bytes_are_shown_as_they_are() -> None:
    plane = numpy.arange(256, dtype="uint8").reshape(16, 16)
    assert (picture(plane) == plane).all()


def test_a_large_slice_is_thinned_out() -> None:
    plane = numpy.random.default_rng(1).integers(0, 256, (1500, 400), dtype="uint8")
    assert (picture(plane) == plane[::3]).all()


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int16", "uint32", "int32", "float32", "float64"])
def test_any_type_of_voxel_is_stretched(dtype: str) -> None:
    shown = picture(numpy.linspace(0, 120, 1000).astype(dtype).reshape(10, 100))
    assert shown.min() == 0 and shown.max() == 255
    assert (numpy.diff(shown.ravel().astype(int)) >= 0).all()


@pytest.mark.parametrize(
    "values",
    [
        numpy.full(1000, 7.0),
        numpy.full(1000, numpy.nan),
        numpy.repeat([0.0, 1.0], [999, 1]),
        numpy.linspace(-1, 1, 1000) * 1.7e308,
        numpy.repeat([numpy.inf, -numpy.inf], 500),
    ],
    ids=["all the same", "no numbers", "one that differs", "the widest span", "infinities"],
)
def test_odd_voxels_make_a_picture_too(values: numpy.ndarray) -> None:
    with numpy.errstate(all="raise"):
        shown = picture(values.reshape(10, 100))
    assert (shown.max() == 255) == (len(numpy.unique(numpy.nan_to_num(values))) > 1)


def test_a_slice_that_is_too_large_is_refused() -> None:
    box = Box(Range(0, 4096), Range(0, 4096), Range(0, 1))
    with pytest.raises(slices.TooLarge, match="16777216 voxels, at most 4194304"):
        slices.middle_slice(None, box)


def test_the_reference_has_every_error() -> None:
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs/reference/previews.md").read_text()
    codes = ("bad-frame", "bad-box", "no-volume", "no-data", "no-database", "busy", "no-answer", "no-broker")
    assert all(f"| `{code}` |" in page for code in codes)
    assert str(previews.PATIENCE_SECONDS) in page and str(slices.MAX_PIXELS) in page
    assert f"{slices.MAX_VOXELS:,}" in page and f"{previews._MAX_CHARACTERS:,}" in page
    assert json.loads(page.partition("```\n")[2].splitlines()[0])["request"] == 7
