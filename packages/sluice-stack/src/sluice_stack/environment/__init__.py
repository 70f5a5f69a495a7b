"""What Sluice takes from its environment: one table of settings, checked before anything else starts.

`python -m sluice_stack.environment` checks the whole environment strictly (an unknown name is refused, with
the nearest known one) and exits 78, EX_CONFIG of sysexits.h, after one line for each problem. `load()` gives
the settings their values, typed. Pure standard library: it runs before Django, and without it.

An empty value means the default, as `NAME: "${NAME:-}"` in a compose file does.
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
