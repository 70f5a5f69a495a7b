"""Projects that are not like the sample site: their own user model with UUIDs, USE_TZ off, a database for
updates alone. Each is pushed to on all transports, audited, checked and trimmed.
"""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from harness.servers import Postgres
from updates_lab.site import Events, Site, running

UUID = {"HUBSITE_USER": "uuid"}
NAIVE = {"HUBSITE_USE_TZ": "no"}


def _postgresql(server: Postgres, name: str) -> str:
    """A new database."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}"')
        connection.execute(f'CREATE DATABASE "{name}"')
    return f"{server.url.rpartition('/')[0]}/{name}"


@pytest.mark.servers
@pytest.mark.parametrize(
    ("users", "updates", "variables"),
    [
        ("sqlite", None, UUID),
        ("sqlite", None, NAIVE),
        ("postgresql", None, UUID),
        ("postgresql", None, NAIVE),
        ("sqlite", "sqlite", UUID | NAIVE),
        ("postgresql", "postgresql", {}),
        ("postgresql", "postgresql", UUID | NAIVE),
        ("sqlite", "postgresql", UUID),
        ("postgresql", "sqlite", UUID),
    ],
)
def test_a_project_of_another_kind_pushes(
    request: pytest.FixtureRequest, tmp_path: Path, users: str, updates: str | None, variables: dict[str, str]
) -> None:
    def address(vendor: str, name: str) -> str:
        if vendor == "sqlite":
            return f"sqlite://{tmp_path}/{name}.sqlite3"
        return _postgresql(request.getfixturevalue("postgresql"), name)

    if updates is not None:
        variables = variables | {"HUBSITE_UPDATES_URL": address(updates, "apart")}
    site = Site(address(users, "main"), **variables)
    try:
        site.migrate()
        site.manage("makemigrations", "--check", "--dry-run")
        site.manage("check", "--tag", "models")
        person, other = site.person(), site.person()
        site.send(person.stream, 1)
        limits = '{"POLL_SECONDS": 0.2, "COMPARE_SECONDS": 1}'
        with running(site, tmp_path / "server.log", HUBSITE_LIMITS=limits, **variables) as served:
            query = f"since={person.stream}/0-0"
            with (
                served.connect(person, query) as socket,
                Events(served, person, query) as events,
                served.connect(other) as neighbour,
            ):
                assert socket.hello()[person.stream]["recovered"] is True
                assert neighbour.hello().keys() == {other.stream, "all"}
                events.next()
                site.send(person.stream, 2)
                site.send("all", 3)
                # There is no order between streams.
                assert sorted(socket.numbers(3)) == [1, 2, 3]
                assert sorted(events.next()["data"]["payload"]["message_id"] for _ in range(3)) == [1, 2, 3]  # type: ignore[index]
                assert neighbour.numbers(1) == [3]
                cookie = f"sessionid={person.session}"
                status, _, body = served.get(f"/push/news/?{query}", Cookie=cookie)
                assert status == 200
                assert [one["payload"]["message_id"] for one in json.loads(body)["updates"]] == [1, 2]
                assert (
                    served.get(f"/push/news/?streams={other.stream}", Cookie=cookie)[2].count(b"denied") == 1
                )
                site.change_password(other.name)
                assert neighbour.close_code() == 4009
                site.sign_out(person.session)
                assert socket.close_code() == 4009
            assert served.stop() == 0
            assert "Traceback" not in served.text(), served.text()
        site.manage("trim_updates", "--max-per-stream", "1")
        (floor,) = site.floors(person.stream)
        assert floor == 1
    finally:
        site.close()
