"""What a file descriptor is."""

from __future__ import annotations

import os
import socket
import stat


def is_listening(number: int) -> bool:
    """Whether this file descriptor is a listening socket."""
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            return False
        with socket.socket(fileno=os.dup(number)) as held:
            return bool(held.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False
