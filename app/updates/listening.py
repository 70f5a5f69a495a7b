"""The socket that a process manager hands to a server as its standard input, listening already.

Several processes that hold it accept from one queue, so one of them can be restarted while connections
wait for the others: supervisor's fcgi-program does it this way.
"""

from __future__ import annotations

import functools
import os
import socket
import stat


def is_listening(number: int) -> bool:
    """Whether the open file of that number is a socket that listens."""
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            return False
        with socket.socket(fileno=os.dup(number)) as held:
            return bool(held.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False


def take_over(number: int) -> int:
    """A new number for an open socket, of which this process holds no other: closed by us, it is closed.

    The old number must not become free: if it is 0, the next file to be opened would be the standard input.
    """
    duplicate = os.dup(number)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, number)
    os.close(nothing)
    return duplicate


@functools.cache
def inherited() -> int | None:
    """The number of the listening socket that was the standard input, taken over; None if it is none.

    The same number each time: Gunicorn reads its settings again on SIGHUP, to which another is an address.
    """
    return take_over(0) if is_listening(0) else None
