"""docs/reference/faults.md, written from what the suite found: after `make faults`, in a checkout,

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
    "test_matrix.py": "A service is struck",
    "test_broker.py": "RabbitMQ and the messages on their way",
    "test_commits.py": "Around a commit",
    "test_postgres.py": "PostgreSQL has no room",
    "test_restore.py": "PostgreSQL is restored to an earlier state",
    "test_nginx.py": "Nginx",
    "test_clients.py": "Clients, and what stands before them",
    "test_replacement.py": "Replacement",
    "test_nothing_is_lost.py": "All of it, under load",
    "test_publishing_cost.py": "The cost of publishing",
}

_HEAD: Final = """\
# Faults

What was broken, what users notice of it, for how long, and the test that shows it. This page is written from
the results of `make faults` by `python3 tests/faults/page.py`.

During nearly every test, clients on three transports stay connected, others come and go, and writers never
pause. At its end each update that was committed has reached each client entitled to it exactly once and in
order, one that was rolled back nobody. When all have gone, processes, sockets, file handles, the broker's
queues and bindings and the database's connections are what they were before the first fault.

Seconds are the most that was seen, on a machine of two cores that had other work to do:

- **a client that connects then**: from the fault's end until one that only now connects has everything.
  Allowed are 2 s, or 10 s where PostgreSQL, Daphne or, for who polls, Gunicorn began anew.
- **those who stayed**: from the fault's end until the last of those who were there all the time has all:
  they wait between two tries, at most 20 s. Allowed are 25 s, or 60 s after a cut that nothing told them of.
- **commit to arrival meanwhile**: while the fault lasted, by socket or event stream. Allowed are 2 s.
"""
_TABLE: Final = ("| fault | users notice | seconds | test |", "|---|---|---|---|")


def page(known: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole page. Raises ValueError for a result of a test file that has no section."""
    if strangers := {test.partition("::")[0] for test in known} - SECTIONS.keys():
        raise ValueError(f"no section for {', '.join(sorted(strangers))}")
    parts = [_HEAD]
    for file, title in SECTIONS.items():
        rows = sorted(_row(test, found) for test, found in known.items() if test.startswith(f"{file}::"))
        if rows:
            parts.append("\n".join((f"## {title}\n", f"`tests/faults/{file}`\n", *_TABLE, *rows)) + "\n")
    return "\n".join(parts)


def _row(test: str, found: Mapping[str, Any]) -> str:
    seconds = "; ".join(f"{what}: {value:.2g}" for what, value in found["seconds"].items())
    return f"| {found['fault']} | {found['notice']} | {seconds} | `{test.partition('::')[2]}` |"


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
