"""`manage.py runworker`: Channels' command with GracefulWorker."""

from __future__ import annotations

import logging
import signal
import threading
from functools import partial
from pathlib import Path
from typing import Any

from channels.management.commands.runworker import Command as ChannelsCommand
from django.conf import settings
from django.utils.module_loading import import_string

from sluice_layer.worker import GracefulWorker

logger = logging.getLogger(__name__)


class Command(ChannelsCommand):
    help = "Run a worker for the given channels. SIGTERM lets the handlers finish their messages."

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
        channels = next(action for action in parser._actions if action.dest == "channels")
        channels.nargs, channels.required = "*", False
        channels.help = "channels to listen on (default: the setting SLUICE_LAYER_WORKER_CHANNELS)"
        parser.add_argument(
            "--alive-file",
            default=getattr(settings, "SLUICE_LAYER_WORKER_ALIVE_FILE", "/tmp/worker.alive"),
            help="file that is touched about every 5 s, after a round trip through RabbitMQ; empty: no file"
            " (setting SLUICE_LAYER_WORKER_ALIVE_FILE; %(default)s)",
        )
        parser.add_argument(
            "--stop-timeout",
            type=float,
            default=getattr(settings, "SLUICE_LAYER_WORKER_STOP_TIMEOUT", 20.0),
            help="seconds that handlers have to finish after SIGTERM"
            " (setting SLUICE_LAYER_WORKER_STOP_TIMEOUT; %(default)s)",
        )
        parser.add_argument(
            "--busy-limit",
            type=float,
            default=getattr(settings, "SLUICE_LAYER_WORKER_BUSY_LIMIT", 600.0),
            help="seconds that a handler may take for one message before the worker exits"
            " (setting SLUICE_LAYER_WORKER_BUSY_LIMIT; %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        options["channels"] = options["channels"] or getattr(settings, "SLUICE_LAYER_WORKER_CHANNELS", [])
        if not options["channels"]:
            idle(options["alive_file"])
            return
        self.worker_class = partial(
            GracefulWorker,
            alive_file=options["alive_file"],
            stop_timeout=options["stop_timeout"],
            busy_limit=options["busy_limit"],
        )
        warm_up = getattr(settings, "SLUICE_LAYER_WORKER_WARM_UP", "")
        for path in [warm_up] if isinstance(warm_up, str) else warm_up:
            if path:
                import_string(path)()
        super().handle(*args, **options)


def idle(alive_file: str) -> None:
    """Wait for SIGTERM or SIGINT. So a service that starts a worker for any project stays up in each."""
    logger.warning("no channels to listen on: name them, or set SLUICE_LAYER_WORKER_CHANNELS")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while True:
        if alive_file:
            Path(alive_file).touch()
        if stop.wait(5):
            return
