"""A query run by psql as the superuser, wherever a command can run."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence

from .service import Result

csv.field_size_limit(2**31 - 1)  # the whole table of updates may arrive as one field; the default is 128 KiB

_OPTIONS = ("--no-psqlrc", "--quiet", "--csv", "--tuples-only", "--set=ON_ERROR_STOP=1", "--dbname=sluice")


def psql(
    run: Callable[..., Result],
    query: str,
    parameters: Mapping[str, str] | None = None,
    *,
    command: Sequence[str] = ("psql", "--username=postgres"),
) -> list[list[str]]:
    """Return the query's rows, over PostgreSQL's own socket. The query refers to `parameters` as :'name'.

    `run` executes a command, as a container's `exec` does. `command` starts psql as the superuser there.
    """
    settings = [f"--set={name}={value}" for name, value in (parameters or {}).items()]
    # psql replaces variables in its standard input, but not in --command.
    script = 'printf %s "$QUERY" | "$@"'
    done = run("bash", "-c", script, "psql", *command, *_OPTIONS, *settings, env={"QUERY": query})
    assert done.code == 0, f"psql: {done.output}"
    return list(csv.reader(io.StringIO(done.output)))
