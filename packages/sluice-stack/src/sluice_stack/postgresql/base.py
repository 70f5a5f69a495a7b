"""The class DatabaseWrapper, which Django expects in this module of a database engine."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import psycopg
from django.db.backends.postgresql import base
from psycopg.abc import RV, PQGen

from sluice_stack import postgresql

# The limit for the health check of an open connection before a request's first query. If the server is merely
# busy, the request gets a new connection.
USABLE_SECONDS: Final = 1.0


class Connection(psycopg.Connection[Any]):
    """A connection that closes itself when a response takes too long."""

    patience: float | None = None  # seconds, instead of the process's limit

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Like psycopg's, but with a limit even without a `timeout`."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        seconds = self.patience or postgresql.seconds
        try:
            return super().wait(gen, interval, seconds)
        except psycopg.errors._WaitTimeout:
            self.close()
            raise psycopg.OperationalError(f"the database did not answer within {seconds:g} s") from None


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's wrapper, with connections of the class above."""

    Database = SimpleNamespace(**{**vars(psycopg), "connect": Connection.connect})

    def get_connection_params(self) -> dict[str, Any]:
        """As Django's, with the password that the file PASSWORD_FILE has now; if it is missing, PASSWORD."""
        params: dict[str, Any] = super().get_connection_params()
        if file := self.settings_dict.get("PASSWORD_FILE"):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                params["password"] = Path(file).read_text(encoding="utf-8").rstrip("\r\n")
        return params

    def is_usable(self) -> bool:
        if self.connection is None:
            return False
        self.connection.patience = USABLE_SECONDS
        try:
            return bool(super().is_usable())
        finally:
            self.connection.patience = None
