"""Writes docs/reference/faults.md from the suite's results. Run it after `make faults`, in a checkout:

python3 tests/faults/page.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
RESULTS: Final = ROOT / "results" / "faults.json"
PAGE: Final = ROOT / "docs" / "reference" / "faults.md"

SECTIONS: Final[Mapping[str, str]] = {
    "test_matrix.py": "A service fails",
    "test_broker.py": "RabbitMQ and its messages",
    "test_commits.py": "Around a commit",
    "test_postgres.py": "PostgreSQL has no free connections",
    "test_without_rabbitmq.py": "Without RabbitMQ: PostgreSQL's notifications",
    "test_restore.py": "PostgreSQL is restored to an earlier state",
    "test_nginx.py": "nginx",
    "test_clients.py": "Clients and proxies",
    "test_replacement.py": "Replacement",
    "test_nothing_is_lost.py": "Several faults under load",
    "test_publishing_cost.py": "The cost of publishing",
}

_HEAD: Final = """\
# Faults

This page shows operators what users notice when a part of the stack fails, for how long, and which
test proves it.

During nearly every test, clients on three transports stay connected, others come and go, and
writers never pause. At its end, three things are true:

- Every committed update has reached each client entitled to it, exactly once and in order.
- No update that was rolled back has reached a client.
- After all clients have left, the stack has as many processes, sockets, file handles, broker queues
  and bindings, and database connections as before the first fault.

The seconds are the maximum that was measured, on a machine with two cores and other load:

- **a new client**: from the end of the fault until a client that connects only then has all
  updates. The limit is 2 s. It is 10 s if PostgreSQL, Daphne or, for polling clients, Gunicorn was
  restarted.
- **connected clients**: from the end of the fault until all clients that were connected before it
  have all updates. A client waits at most 10 s between two attempts. The limit is 25 s, or 60 s
  after a cut that the clients could not detect at once.
- **commit to arrival during the fault**: for WebSockets and event streams. The limit is 2 s.
"""
_TAIL: Final = """\
## See also

- [Symptoms](symptoms.md): an error message, its cause, its proof and its fix.
- [The update protocol](protocol.md): what the server promises, and what a client does after a cut.
- [Run the tests](../how-to/run-the-tests.md): `make faults` and the other suites.
"""
_TABLE: Final = ("| fault | effect on users | seconds | test |", "|---|---|---|---|")


def page(known: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole page. Raises ValueError if a test file has no section."""
    if strangers := {test.partition("::")[0] for test in known} - SECTIONS.keys():
        raise ValueError(f"no section for {', '.join(sorted(strangers))}")
    parts = [_HEAD]
    for file, title in SECTIONS.items():
        rows = sorted(_row(test, found) for test, found in known.items() if test.startswith(f"{file}::"))
        if rows:
            parts.append("\n".join((f"## {title}\n", f"`tests/faults/{file}`\n", *_TABLE, *rows)) + "\n")
    return "\n".join([*parts, _TAIL])


def _row(test: str, found: Mapping[str, Any]) -> str:
    seconds = "; ".join(f"{what}: {value:.2g}" for what, value in found["seconds"].items())
    return f"| {found['fault']} | {found['notice']} | {seconds} | `{test.partition('::')[2]}` |"


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
