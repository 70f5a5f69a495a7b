"""Previews: while a user draws a box, the browser asks for a picture of it, and a Channels worker makes it.

This is an ordinary Channels consumer at `channels/volumes/<id>/preview/`, and an ordinary worker for the
channel `previews`. Use it as a model for short tasks that a socket waits for. docs/reference/previews.md has
the frames.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from dataclasses import asdict
from typing import Any, Final, NamedTuple

from asgiref.sync import async_to_sync
from channels.consumer import SyncConsumer
from channels.exceptions import ChannelFull
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import DatabaseError, InterfaceError

from sluice_layer import TidyConsumer
from sluice_updates import close_codes, limits
from sluice_updates.asgi.transport import socket_transport

from .box import BadBox, Box, Range, parse_box

logger = logging.getLogger(__name__)

CHANNEL: Final = "previews"
# From a request to its response. A worker skips older requests.
PATIENCE_SECONDS: Final = 2.5
_MAX_REQUEST: Final = 2**53 - 1
_MAX_CHARACTERS: Final = 4096

Answer = tuple[str, dict[str, Any]]  # an event and its payload


class Request(NamedTuple):
    """A browser's request: its number, the box as JSON text, and the loop time at which to give up."""

    number: int
    box: str
    deadline: float


class PreviewConsumer(TidyConsumer, AsyncWebsocketConsumer):
    """The browser's side. Only the latest request gets a response.

    So a browser may send a request at every mouse move. One preview is made at a time. A new request replaces
    a waiting one. The result of an older request is dropped.
    """

    async def connect(self) -> None:
        self.volume_id: int = self.scope["url_route"]["kwargs"]["volume_id"]
        self.transport = socket_transport(self.scope, self.base_send)
        self.latest: Request | None = None  # waits for the worker
        self.serial = 0  # of the last message to the worker
        self.reply: asyncio.Future[Answer] | None = None
        self.asking: asyncio.Task[None] | None = None
        self.bad_frames = 0
        await self.accept()

    async def disconnect(self, code: int) -> None:
        if self.asking is not None:
            self.asking.cancel()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        request = _read(text_data)
        if isinstance(request, str):
            await self._refuse_frame(request)
            return
        self.latest = request
        if self.asking is None:
            self.asking = asyncio.create_task(self._answer_latest())

    async def preview_ready(self, message: dict[str, Any]) -> None:
        """From the worker: the picture, or an error."""
        # Another serial: the response is too late.
        if message["serial"] == self.serial and self.reply is not None and not self.reply.done():
            self.reply.set_result((message["event"], message["payload"]))

    async def _answer_latest(self) -> None:
        try:
            while (request := self.latest) is not None:
                self.latest = None
                event, payload = await self._ask(request)
                if self.latest is None:
                    await self._say(event, {"request": request.number, **payload})
        except Exception:
            logger.exception("preview of volume %d", self.volume_id)
            self.transport.close(close_codes.INTERNAL_ERROR)
        finally:
            self.asking = None

    async def _ask(self, request: Request) -> Answer:
        """The worker's response, or an error at the request's deadline."""
        loop = asyncio.get_running_loop()
        self.serial += 1
        self.reply = loop.create_future()
        message = {
            "type": "preview.make",
            "reply_to": self.channel_name,
            "serial": self.serial,
            # As text, since the number in a URL may be larger than the layer's messages can carry.
            "volume": str(self.volume_id),
            "box": request.box,
            "wanted_until": time.time() + request.deadline - loop.time(),
        }
        sent = False
        try:
            async with asyncio.timeout_at(request.deadline):
                await self.channel_layer.send(CHANNEL, message)
                sent = True
                return await self.reply
        except ChannelFull:
            return _error("busy", "too many previews are being made; try again in a moment")
        except TimeoutError:  # also the layer's own, LayerUnavailable
            if sent:
                return _error("no-answer", "no worker has made the preview in time")
            return _error("no-broker", "the broker can't be reached, so no worker can be asked")

    async def _say(self, event: str, payload: dict[str, Any]) -> None:
        if self.transport.unsent > limits.UNSENT_BYTES:
            # The browser does not read, and pictures would accumulate here.
            self.transport.close(close_codes.TOO_SLOW)
            return
        if "png" in payload:
            payload["png"] = base64.b64encode(payload["png"]).decode()
        await self.send(text_data=json.dumps({"event": event, "payload": payload}))

    async def _refuse_frame(self, detail: str) -> None:
        self.bad_frames += 1
        await self._say(*_error("bad-frame", detail))
        if self.bad_frames >= limits.BAD_FRAMES:
            self.transport.close(close_codes.BAD_REQUEST)


class PreviewWorker(SyncConsumer):
    """The worker's side: `manage.py runworker previews`."""

    def preview_make(self, message: dict[str, Any]) -> None:
        """Make the picture and send it to the socket's consumer, unless that has given up."""
        if time.time() > message["wanted_until"]:
            return
        event, payload = _make(message["volume"], message["box"])
        reply = {"type": "preview.ready", "serial": message["serial"], "event": event, "payload": payload}
        try:
            async_to_sync(self.channel_layer.send)(message["reply_to"], reply)
        except (ChannelFull, TimeoutError) as error:
            logger.warning("a preview could not be delivered: %s", error or type(error).__name__)


def warm_up() -> None:
    """Load Zarr, NumPy and Pillow, and make a picture, so that the first preview is not a second late."""
    import numpy

    from . import reading, slices, stores  # noqa: F401

    array = reading.zarr().create_array({}, data=numpy.eye(8, dtype="uint16").reshape(1, 8, 8))
    slices.middle_slice(array, Box(Range(0, 8), Range(0, 8), Range(0, 1)))


def _read(text: str | None) -> Request | str:
    """The request in a frame {"request": 7, "box": {…}}; or the problem, as a sentence."""
    if text is None:
        return "a request is a text frame, not a binary one"
    if len(text) > _MAX_CHARACTERS:
        return f"a request has at most {_MAX_CHARACTERS} characters"
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return "a request is a JSON object"
    if not isinstance(value, dict) or value.keys() != {"request", "box"}:
        return 'a request has two keys: {"request": 7, "box": {"x": [0, 64], "y": [0, 64], "z": [0, 64]}}'
    if type(value["request"]) is not int or not 0 <= value["request"] <= _MAX_REQUEST:
        return f"request must be a whole number from 0 to {_MAX_REQUEST}"
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    return Request(value["request"], json.dumps(value["box"]), deadline)


def _make(volume_id: str, box: str) -> Answer:
    from . import slices, stores
    from .models import Volume

    try:
        volume = Volume.objects.filter(pk=volume_id).first()
        if volume is None:
            return _error("no-volume", "there is no such volume")
        wanted = parse_box(json.loads(box), volume.whole, max_voxels=volume.whole.voxels)
        picture = slices.middle_slice(stores.open_array(volume), wanted)
    except BadBox as error:
        return _error("bad-box", str(error), error.field)
    except slices.TooLarge as error:
        return _error("bad-box", str(error), "box")
    except (DatabaseError, InterfaceError) as error:
        logger.warning("preview of volume %s: %s", volume_id, " ".join(str(error).split()))
        return _error("no-database", "the database can't be reached; try again in a moment")
    except Exception:  # a store may be broken in any way
        logger.exception("preview of volume %s", volume_id)
        return _error("no-data", "the volume's data can't be read; see the server's log")
    return "preview", asdict(picture)


def _error(code: str, detail: str, field: str | None = None) -> Answer:
    where = {} if field is None else {"field": field}
    return "error", {"code": code, "detail": detail, **where}
