"""The table of settings as an operator reads it: docs/reference/environment.md and .env.example.

`python -m sluice_stack.environment_reference` writes both into a checkout; a test compares them with the
table.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .environment import BUILD, ENV_FILE, INTERNAL, OPERATOR, TABLE, Row

ROOT: Final = Path.cwd()

_PAGE: Final = """\
# Environment variables

All of them. `sluice_stack.environment` has the one table that they come from; this page is written from it by
`python -m sluice_stack.environment_reference`.

An empty value means the default. A name that is not a setting, or a value that is malformed, ends a container
at its start, with exit status 78 and a line that says which and why:

```
sluice wsgi: SITE_ULR is not a setting of this container; did you mean SITE_URL?
sluice wsgi: URL_PREFIX=/a/ is malformed: it must be empty or a path such as /catmaid: …
```

## What an operator chooses

In `.env` beside `compose.yaml` (`.env.example` shows each), or in the environment of `docker compose`.
After a change: `docker compose up -d`.

{operator}

## What the builds and make read

In the same place.

{build}

## What compose.yaml sets

Not for `.env`. On a host without containers they are NAME=VALUE lines of `{env_file}` (or of the file that
`SLUICE_ENV_FILE` names), where what is above for a service other than nginx has its place too, and of a file
beside it for each program: `gunicorn.env`, `daphne.env`, `channels-worker.env`, `celery.env`, `beat.env`. A
program reads its own (the name is in `SLUICE_PROGRAM`, which the files of `supervisor/` set) over the common
one; a variable of the process wins over both. There an unknown name is an error only in the files, not in
the environment of a shell; so is one that nobody heeds there, as nginx's or, in a program's own file,
another's. `SSL_CERT_FILE`, OpenSSL's own, may stand there too: a file of authorities that `amqps://` trusts
besides the machine's (`SSL_CERT_DIR`: a folder of them, instead of the machine's).

{internal}

Secrets are never values: a variable ending in `_FILE` names a file that holds one (see secrets.md).
"""

_EXAMPLE: Final = """\
# Copy to .env. Each line shows a default: where you want something else, take out the # and change it.
# An unknown name, or a malformed value, is refused at start. More: docs/reference/environment.md
{settings}"""


def page() -> str:
    """docs/reference/environment.md"""
    parts = {who: _table(who) for who in (OPERATOR, BUILD, INTERNAL)}
    return _PAGE.format(env_file=ENV_FILE, **parts)


def example() -> str:
    """.env.example"""
    lines = [line for who in (OPERATOR, BUILD) for line in _example_lines(who)]
    return _EXAMPLE.format(settings="\n".join(lines) + "\n")


def _table(who: str) -> str:
    lines = ["| name | default | for | meaning |", "|---|---|---|---|"]
    for row in _rows(who):
        default = f"`{row.default}`" if row.default else ""
        lines.append(f"| `{row.name}` | {default} | {row.services.replace(' ', ', ')} | {row.meaning} |")
    return "\n".join(lines)


def _example_lines(who: str) -> Iterator[str]:
    for row in _rows(who):
        yield ""
        yield from textwrap.wrap(
            row.meaning.replace("`", ""), 108, initial_indent="# ", subsequent_indent="# "
        )
        default = "http://localhost:8080" if row.name == "SITE_URL" else row.default
        yield f"#{row.name}={default}"


def _rows(who: str) -> Iterator[Row]:
    return (row for row in TABLE.values() if row.who == who)


if __name__ == "__main__":
    (ROOT / "docs/reference/environment.md").write_text(page(), encoding="utf-8")
    (ROOT / ".env.example").write_text(example(), encoding="utf-8")
