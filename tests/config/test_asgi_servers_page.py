"""docs/how-to/another-asgi-server.md: its table is of a run of the servers in `make asgi-servers`."""

from __future__ import annotations

import re

from asgi_servers.servers import SERVERS
from harness.compose import SOURCE

PAGE = (SOURCE / "docs/how-to/another-asgi-server.md").read_text()
PINNED = dict(
    re.findall(r"^([\w-]+)==([\w.]+)", (SOURCE / "tests/asgi_servers/requirements.txt").read_text(), re.M)
)
HEADING = ["server", "version", "WebSockets", "event streams", "seconds to exit", "status"]


def rows() -> list[dict[str, str]]:
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.splitlines()
        if line.startswith("| ")
    ]
    start = lines.index(HEADING)
    return [dict(zip(HEADING, row, strict=True)) for row in lines[start + 1 :]]


def test_each_server_is_in_the_table_with_the_version_that_is_tested() -> None:
    versions = {name: PINNED.get(server.package, "–") for name, server in SERVERS.items()}
    assert {row["server"]: row["version"] for row in rows()} == versions


def test_each_of_them_ends_in_order() -> None:
    for row in rows():
        assert (row["WebSockets"], row["event streams"], row["status"]) == ("1012", "close event", "0")
        assert 1.5 < float(row["seconds to exit"]) < 10


def test_the_page_starts_each_server_as_the_tests_do() -> None:
    for server in SERVERS.values():
        program = server.command.split()[1]
        assert re.search(rf"`(python -m )?{program} .*project\.asgi:application`", PAGE), program
