"""Daphne with a graceful stop: `python -m sluice_updates.server`; `--help` lists the arguments.

On SIGTERM, stock Daphne drops its sockets without a close frame and runs no disconnect(). This server stops
accepting, reports `stopping`, sends 1012 to its clients, spread over a few seconds so that they do not all
reconnect at once, lets every application receive its disconnect, and exits 0. Everything else is Daphne's.

Without arguments it serves the listening socket on its standard input, which supervisor's fcgi-program hands
over (systemd: --fd 3). Without such a socket it listens on SLUICE_UPDATES_BIND, by default 127.0.0.1:8001.

Exit status: 0 after SIGTERM or SIGINT (a second signal stops at once), 1 if it can't listen, 2 for wrong
arguments, 70 if it is broken and needs a restart.
"""

from __future__ import annotations

import sys

from .command import main

if __name__ == "__main__":
    sys.exit(main())
