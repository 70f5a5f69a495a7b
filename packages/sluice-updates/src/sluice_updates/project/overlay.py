"""Imports modules from other bytes than those of their files, to try edits before they are written."""

from __future__ import annotations

import importlib.machinery
from collections.abc import Mapping
from typing import Any


def install(files: Mapping[str, bytes]) -> None:
    """From now on, import these paths with these bytes. Neither their files nor compiled ones are used."""
    loader = importlib.machinery.SourceFileLoader
    read, stat = loader.get_data, loader.path_stats

    def get_data(self: Any, path: str) -> bytes:
        return files[path] if path in files else read(self, path)

    def path_stats(self: Any, path: str) -> Mapping[str, Any]:
        if path in files:
            raise OSError("its compiled file is of other bytes")
        return stat(self, path)

    loader.get_data, loader.path_stats = get_data, path_stats  # type: ignore[method-assign]
