"""Settings from environment variables: one table, checked before anything else starts.

`python -m sluice_stack.environment` checks the whole environment strictly: an unknown name is an error, and
the message suggests the nearest known one. It prints one line for each problem and exits with 78 (EX_CONFIG
of sysexits.h). `load()` returns the typed values. This package needs the standard library only, since it runs
before Django, and without it.

An empty value means the default, since `NAME: "${NAME:-}"` in a compose file sets one.
"""

from . import parsers
from .malformed import Malformed
from .project import project_table
from .reading import (
    ENV_FILE,
    EX_CONFIG,
    check,
    load,
    misplaced,
    missing,
    parse,
    refuse,
    secret,
    unknown_names,
    with_file,
)
from .table import BUILD, HOST_PROGRAMS, INTERNAL, OPERATOR, SERVICES, Environment, Row, rows, setting

__all__ = [
    "BUILD",
    "ENV_FILE",
    "EX_CONFIG",
    "HOST_PROGRAMS",
    "INTERNAL",
    "OPERATOR",
    "SERVICES",
    "Environment",
    "Malformed",
    "Row",
    "check",
    "load",
    "misplaced",
    "missing",
    "parse",
    "parsers",
    "project_table",
    "refuse",
    "rows",
    "secret",
    "setting",
    "unknown_names",
    "with_file",
]
