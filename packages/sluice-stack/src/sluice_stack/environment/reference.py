"""Generates the operators' reference of settings: docs/reference/environment.md and .env.example.

`python -m sluice_stack.environment.reference DIRECTORY` writes both files into the checkout at DIRECTORY,
from the table of the project that DJANGO_SETTINGS_MODULE names. `scripts/environment-reference` runs it.
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .project import project_table
from .reading import ENV_FILE
from .table import BUILD, INTERNAL, OPERATOR, Environment, Row, rows

_PAGE: Final = """\
# Environment variables

This page lists every setting. `scripts/environment-reference` generates it from the stack's table,
`sluice_stack.environment.table`, and the site's own, `{site}`.

An empty value means the default. A container that gets an unknown name or a malformed value does
not start: it exits with status 78 and one line for each problem.

```
sluice wsgi: SITE_ULR is not a setting of this container; did you mean SITE_URL?
sluice wsgi: URL_PREFIX=/a/ is malformed: it must be empty or a path such as /catmaid: …
```

A project without such a table, as [a project of your own](../how-to/your-project.md) usually is,
gets its own variables from `site.env`. Its containers accept any name; `.env` is checked all the
same.

Secrets are never values: a variable ending in `_FILE` names a file that holds one (see secrets.md).

## Settings for operators

Set these in `.env` beside `compose.yaml` (`.env.example` shows each), or in the environment of
`docker compose`. After a change, run `docker compose up -d`.

{operator}

## Settings for builds and make

Set these in the same place.

{build}

## Settings in compose.yaml

These do not belong in `.env`: `compose.yaml` sets them.

On a host without containers, write them as NAME=VALUE lines into `{env_file}`, or into
the file that `SLUICE_ENV_FILE` names. The settings for operators go there too, except those for
nginx. `DJANGO_SETTINGS_MODULE` must be there: it names the site's settings.

Each program may have a file of its own beside the common one: `gunicorn.env`, `daphne.env`,
`channels-worker.env`, `celery.env`, `beat.env`. The files of `supervisor/` and `systemd/` name it
in `SLUICE_PROGRAM`. The program's own file takes precedence over the common file, and a variable of
the process over both.

In these files, unknown names are errors, and so are settings that no program reads from the file:
nginx's, or in a program's own file, another program's. Other variables of the process are ignored.

`amqps://` uses port 5671 unless the URL names another. The certificate must name HOST, and come
from an authority that the machine trusts. `SSL_CERT_FILE`, which OpenSSL reads, may name a file of
authorities to trust besides the machine's, and `SSL_CERT_DIR` a folder of authorities to trust
instead of the machine's.

{internal}
"""

_EXAMPLE: Final = """\
# Copy this file to .env. Each line shows a default: to change one, remove the # and edit the value.
# Unknown names and malformed values are refused at start. More: docs/reference/environment.md
{settings}"""


def page(table: type[Environment]) -> str:
    """The text of docs/reference/environment.md."""
    parts = {who: _table(table, who) for who in (OPERATOR, BUILD, INTERNAL)}
    return _PAGE.format(env_file=ENV_FILE, site=table.__module__, **parts)


def example(table: type[Environment]) -> str:
    """The text of .env.example."""
    lines = [line for who in (OPERATOR, BUILD) for line in _example_lines(table, who)]
    return _EXAMPLE.format(settings="\n".join(lines) + "\n")


def write(directory: Path, table: type[Environment]) -> None:
    """Write both files into the checkout at `directory`."""
    (directory / "docs/reference/environment.md").write_text(page(table), encoding="utf-8")
    (directory / ".env.example").write_text(example(table), encoding="utf-8")


def _table(table: type[Environment], who: str) -> str:
    lines = ["| name | default | for | meaning |", "|---|---|---|---|"]
    for row in _rows(table, who):
        default = f"`{row.default}`" if row.default else ""
        lines.append(f"| `{row.name}` | {default} | {row.services.replace(' ', ', ')} | {row.meaning} |")
    return "\n".join(lines)


def _example_lines(table: type[Environment], who: str) -> Iterator[str]:
    for row in _rows(table, who):
        yield ""
        yield from textwrap.wrap(
            row.meaning.replace("`", ""), 108, initial_indent="# ", subsequent_indent="# "
        )
        default = "http://localhost:8080" if row.name == "SITE_URL" else row.default
        yield f"#{row.name}={default}"


def _rows(table: type[Environment], who: str) -> Iterator[Row]:
    return (row for row in rows(table).values() if row.who == who)


if __name__ == "__main__":
    write(Path(sys.argv[1]), project_table(os.environ))
