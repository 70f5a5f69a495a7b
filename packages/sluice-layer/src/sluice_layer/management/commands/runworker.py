"""`manage.py runworker`: Channels' command with GracefulWorker."""

from __future__ import annotations

from functools import partial
from typing import Any

from channels.management.commands.runworker import Command as ChannelsCommand
from django.conf import settings
from django.utils.module_loading import import_string

from sluice_layer.worker import GracefulWorker


class Command(ChannelsCommand):
    help = "Run a worker for the given channels. SIGTERM lets the handlers finish their messages."

    def add_arguments(self, parser: Any) -> None:
        super().add_arguments(parser)
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
