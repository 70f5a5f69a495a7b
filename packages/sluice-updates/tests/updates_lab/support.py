"""Helpers for several of these tests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from django.db import connections, router

from sluice_updates.models import Update


class RouteTo:
    """A database router that uses one database for everything."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return self.alias

    db_for_write = db_for_read


class Threads:
    """Threads with a database connection each. The end of the block joins them and raises their errors."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []

    def __enter__(self) -> Threads:
        return self

    def start(self, function: Callable[..., object], *arguments: object) -> threading.Thread:
        def run() -> None:
            try:
                function(*arguments)
            except BaseException as error:
                self._errors.append(error)
            finally:
                connections[router.db_for_write(Update)].close()

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def __exit__(self, *raised: object) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a thread is still running after 60 s"
        if self._errors:
            raise self._errors[0]
