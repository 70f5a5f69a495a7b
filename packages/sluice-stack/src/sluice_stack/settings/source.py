"""Where settings take their values from: the checked environment, and the files of secrets."""

from __future__ import annotations

import importlib.util
import os
from typing import TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from sluice_stack import environment
from sluice_stack.environment import Environment

Table = TypeVar("Table", bound=Environment)


def read_environment(table: type[Table] = Environment) -> Table:  # type: ignore[assignment]
    """The environment's values, by the stack's table or a project's.

    If the environment cannot be used, the process ends: exit status 78, and one line for each problem.
    """
    try:
        return environment.load(table)
    except environment.Malformed as error:
        environment.refuse(error.problems, os.environ.get("SLUICE_SERVICE", ""))
        raise


def secret(path: str, name: str) -> str:
    """The secret in the file at `path`, which the variable `name` named; empty if `path` is.

    If the file cannot be read, the process ends: exit status 78 and one line.
    """
    if not path:
        return ""
    try:
        return environment.secret(path, name)
    except environment.Malformed as error:
        environment.refuse(error.problems, os.environ.get("SLUICE_SERVICE", ""))
        raise


def with_password(url: str, password: str) -> str:
    """`scheme://user@host/…` with the password inserted."""
    if not url or not password:
        return url
    parts = urlsplit(url)
    user, _, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}"))


def installed(*names: str) -> bool:
    """Whether optional packages can be imported. Nothing else asks this."""
    return all(importlib.util.find_spec(name) is not None for name in names)
