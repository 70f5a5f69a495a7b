"""The socket that a process manager passes on is used only by the process that it is meant for."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "src"
# What a manager does between fork and exec: it gives the socket its number, and systemd sets the process id.
HAND_OVER = """
import os, sys
given, number, whose, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
os.dup2(given, number, inheritable=True)
if whose:
    os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()) if whose == "its own" else "1"}
os.execv(sys.executable, [sys.executable, "-c", program, str(number)])
"""
LOOK = """
import os, socket, sys
from sluice_updates.server.listening import inherited, is_listening
found = inherited()
if found is None:
    print("none")
else:
    port = socket.socket(fileno=os.dup(found)).getsockname()[1]
    print(port, found == inherited(), is_listening(int(sys.argv[1])))
print(sorted(name for name in os.environ if name.startswith("LISTEN_")))
"""


@pytest.mark.parametrize(
    ("number", "whose", "left"),
    [
        (0, "", "[]"),
        (3, "its own", "[]"),  # otherwise Gunicorn would use the socket a second time
    ],
    ids=["supervisor's", "systemd's"],
)
def test_an_inherited_socket_is_used_once(number: int, whose: str, left: str) -> None:
    port, said = handed_over(number, whose)
    assert said == [f"{port} True False", left]


@pytest.mark.parametrize("whose", ["", "another's"])
def test_file_3_is_ignored_unless_systemd_passed_it_to_this_process(whose: str) -> None:
    _, said = handed_over(3, whose)
    assert said[0] == "none"


def handed_over(number: int, whose: str) -> tuple[int, list[str]]:
    """The socket's port, and the output of a process that received it as file `number`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        given = os.dup2(listener.fileno(), 60)
        try:
            done = subprocess.run(
                [sys.executable, "-c", HAND_OVER, str(given), str(number), whose, LOOK],
                pass_fds=[given],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(SOURCES)},
                capture_output=True,
                text=True,
                check=True,
            )
        finally:
            os.close(given)
        return listener.getsockname()[1], done.stdout.splitlines()
