"""A listening socket from a process manager: supervisor passes it as standard input, systemd as descriptor 3.

Several processes with the same socket accept from one queue, so one of them can be restarted while the
others accept: supervisor's fcgi-program works this way, and systemd's units with one socket for several
services.
"""

from __future__ import annotations

import functools
import os
from typing import Final

from ..asgi.sockets import is_listening as is_listening

SYSTEMDS: Final = 3
"""The first descriptor from systemd. https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html"""


def take_over(number: int) -> int:
    """Move a socket to a new file descriptor, the only one of this process, so that closing it is final.

    The old number stays in use: if 0 became free, the next file to be opened would be standard input.
    """
    duplicate = os.dup(number)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, number)
    os.close(nothing)
    return duplicate


@functools.cache
def inherited() -> int | None:
    """The descriptor of the inherited listening socket, after take_over(); None if there is none.

    It is the same at each call: Gunicorn reads its settings again on SIGHUP, where another number would be
    another address.
    """
    if is_listening(0):
        return take_over(0)
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and is_listening(SYSTEMDS):
        # Gunicorn reads these variables too, and would take the socket again.
        for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
            os.environ.pop(name, None)
        return take_over(SYSTEMDS)
    return None
