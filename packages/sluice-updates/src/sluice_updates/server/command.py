"""The command line of the server."""

from __future__ import annotations

from .daphne import DRAIN_SECONDS, DrainingServer  # isort: skip  # before Twisted's reactor

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

from asgiref.compatibility import guarantee_single_callable
from daphne.endpoints import build_endpoint_description_strings
from daphne.utils import import_by_path

from .. import conf
from .listening import is_listening, take_over

DEFAULT: Final = "sluice_updates.asgi.default:application"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal. Returns the exit status."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until there is something to drain
    sys.path.insert(0, os.getcwd())
    application = guarantee_single_callable(import_by_path(options.application or _configured()))
    # Does nothing if the application has configured logging.
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    server = DrainingServer(application, _endpoints(options), drain_seconds=options.drain_seconds)
    server.run()
    for number in (signal.SIGTERM, signal.SIGINT):  # another signal would kill the process while Python exits
        signal.signal(number, signal.SIG_IGN)
    return server.exit_status


def _configured() -> str:
    """MODULE:NAME of the setting ASGI_APPLICATION, else DEFAULT. Exits with a message without settings."""
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    try:
        path = str(getattr(settings, "ASGI_APPLICATION", "") or "")
    except ImproperlyConfigured:
        sys.exit(
            "sluice_updates.server: there are no settings; set DJANGO_SETTINGS_MODULE, or pass MODULE:NAME of"
            " an application"
        )
    module, _, name = path.rpartition(".")
    return f"{module}:{name}" if module else DEFAULT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sluice_updates.server", description="Daphne with a graceful stop."
    )
    parser.add_argument("--bind", metavar="ADDRESS", help="listen on this address")
    parser.add_argument("--port", type=int, help="and this port")
    parser.add_argument(
        "--fd", type=int, metavar="NUMBER", help="accept from this file descriptor, a listening socket"
    )
    parser.add_argument(
        "--drain-seconds",
        type=float,
        default=DRAIN_SECONDS,
        metavar="SECONDS",
        help="the longest time over which a stop spreads its closes (default: %(default)g)",
    )
    parser.add_argument(
        "application", nargs="?", help=f"MODULE:NAME (default: the setting ASGI_APPLICATION, else {DEFAULT})"
    )
    return parser


def _endpoints(options: argparse.Namespace) -> list[str]:
    """Where to listen, as Twisted's endpoint strings."""
    number = options.fd
    if number is None and options.bind is None and options.port is None and is_listening(0):
        number = 0
    if number is not None:
        if not is_listening(number):
            sys.exit(
                f"sluice_updates.server: file descriptor {number} is not a listening socket; supervisor"
                " passes one to an [fcgi-program] that is in no [group], and systemd to a unit with Sockets="
            )
        return build_endpoint_description_strings(file_descriptor=take_over(number))
    bind = conf.bind()
    if bind.startswith("unix:") and options.bind is None and options.port is None:
        return build_endpoint_description_strings(unix_socket=bind.removeprefix("unix:"))
    host, _, port = (conf.DEFAULT_BIND if bind.startswith("unix:") else bind).rpartition(":")
    return build_endpoint_description_strings(
        host=options.bind or host, port=options.port if options.port is not None else int(port)
    )
