"""The socket that a process manager hands to a server, listening already: supervisor as the standard input,
systemd as file 3.

Several processes that hold it accept from one queue, so one of them can be restarted while connections
wait for the others: supervisor's fcgi-program does it this way, and systemd's units with one
socket for several services.
"""

from __future__ import annotations

import functools
import os
import socket
import stat
from typing import Final

SYSTEMDS: Final = 3
"""The first that systemd hands over. https://www.freedesktop.org/software/systemd/man/latest/sd_listen_fds.html"""


def is_listening(number: int) -> bool:
    """Whether this file descriptor is a listening socket."""
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            return False
        with socket.socket(fileno=os.dup(number)) as held:
            return bool(held.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False


def take_over(number: int) -> int:
    """Move a socket to a new file descriptor, the only one that this process holds: closing it closes it.

    The old number stays in use: if 0 became free, the next opened file would be the standard input.
    """
    duplicate = os.dup(number)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, number)
    os.close(nothing)
    return duplicate


@functools.cache
def inherited() -> int | None:
    """The number of the listening socket that was handed over, now ours; None if there is none.

    The same number each time: Gunicorn reads its settings again on SIGHUP, to which another is an address.
    """
    if is_listening(0):
        return take_over(0)
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and is_listening(SYSTEMDS):
        # Gunicorn reads them too, and would take the socket for its own alone.
        for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
            os.environ.pop(name, None)
        return take_over(SYSTEMDS)
    return None
