"""The sources of settings: the checked environment, and the files with secrets."""

from __future__ import annotations

import importlib.util
import os
from typing import TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from sluice_stack import environment
from sluice_stack.environment import Environment

Table = TypeVar("Table", bound=Environment)


def read_environment(table: type[Table] = Environment) -> Table:  # type: ignore[assignment]
    """The values of the environment, read with the stack's table or a project's.

    If the environment is invalid, the process prints one line for each problem and exits with 78.
    """
    try:
        return environment.load(table)
    except environment.Malformed as error:
        environment.refuse(error.problems, os.environ.get("SLUICE_SERVICE", ""))
        raise


def secret(path: str, name: str) -> str:
    """The secret in the file at `path`; empty if `path` is empty. `name` is the variable with that path.

    If the file can't be read, the process prints one line and exits with 78.
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
    """Whether all of these optional packages can be imported."""
    return all(importlib.util.find_spec(name) is not None for name in names)
