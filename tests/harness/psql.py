"""A query run by psql, as the superuser, wherever commands can be run."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence

from .service import Result

csv.field_size_limit(2**31 - 1)  # the whole table of updates may come as one field; the default is 128 KiB

_OPTIONS = ("--no-psqlrc", "--quiet", "--csv", "--tuples-only", "--set=ON_ERROR_STOP=1", "--dbname=sluice")


def psql(
    run: Callable[..., Result],
    query: str,
    parameters: Mapping[str, str] | None = None,
    *,
    command: Sequence[str] = ("psql", "--username=postgres"),
) -> list[list[str]]:
    """Rows of a query, over PostgreSQL's own socket; `parameters` by :'name'.

    `run` is an `exec` of a container, `command` how psql becomes the superuser there.
    """
    settings = [f"--set={name}={value}" for name, value in (parameters or {}).items()]
    # psql replaces variables in what it reads, not in --command.
    script = 'printf %s "$QUERY" | "$@"'
    done = run("bash", "-c", script, "psql", *command, *_OPTIONS, *settings, env={"QUERY": query})
    assert done.code == 0, f"psql: {done.output}"
    return list(csv.reader(io.StringIO(done.output)))
