"""Metrics in Prometheus' format, from a port of their own: `GET /metrics` on SLUICE_UPDATES_METRICS_BIND.

The port is served by a thread, so a busy or stuck event loop does not delay a scrape. It has no access
control: bind it to an address that only Prometheus reaches. It needs the extra `metrics`.

`python -m sluice_updates.server` starts it. Under another ASGI server, start it in asgi.py:

    from sluice_updates import monitoring

    monitoring.start("127.0.0.1:9108")
"""

from __future__ import annotations

import importlib.util
import logging
from typing import TYPE_CHECKING, Final

from .listener import Listener, open_socket

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

logger = logging.getLogger(__name__)

INSTALLED: Final = importlib.util.find_spec("prometheus_client") is not None


def start(bind: str, *collectors: Collector, program: str = "asgi", sender: bool = True) -> Listener | None:
    """Serve the metrics of this process at `bind`, ADDRESS:PORT, or at the next free port. Empty: do nothing.

    `collectors`: more of prometheus_client's, besides the package's own. `sender`: whether this process has
    the sender of wake-ups; False if its children have theirs. A port that can't be had is only logged: it
    must not keep a program from its work. Returns the listener, if there is one.
    """
    if not bind:
        return None
    if not INSTALLED:
        logger.warning(
            "no metrics: prometheus-client is not installed; install sluice-updates[metrics], or unset"
            " SLUICE_UPDATES_METRICS_BIND"
        )
        return None
    from .collector import of_this_process, registry, render

    found = registry(program, *of_this_process(sender=sender), *collectors)
    try:
        listener = Listener(open_socket(bind), lambda: render(found))
    except OSError as error:
        logger.warning("no metrics: %s can't be listened on: %s", bind, error)
        return None
    listener.start()
    logger.info("metrics at http://%s/metrics", listener.address)
    return listener
