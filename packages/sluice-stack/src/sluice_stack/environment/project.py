"""The project's own table of settings, found without Django.

A project keeps its own settings in a module `environment` beside its settings module: if
DJANGO_SETTINGS_MODULE is `project.settings`, in `project/environment.py`. Its class `Environment` is a
subclass of the stack's. Without such a module, the project uses the stack's table alone.

    from sluice_stack.environment import OPERATOR, Environment as StackEnvironment, parsers, setting

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Environment(StackEnvironment):
        page_size: int = setting("50", parsers.whole(1, 500), OPERATOR, "wsgi", "Rows of a page.")

The module may import only the standard library and sluice_stack.environment: it is imported before Django is
set up.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Final

from .malformed import Malformed
from .table import Environment

SETTINGS_MODULE: Final = "DJANGO_SETTINGS_MODULE"


def project_table(environ: Mapping[str, str]) -> type[Environment]:
    """The table of the project whose settings module `environ` names; the stack's if the project has none.

    Raises Malformed if the project's package can't be found.
    """
    settings = environ.get(SETTINGS_MODULE, "")
    package, dot, _ = settings.partition(".")
    if not dot:
        return Environment
    if importlib.util.find_spec(package) is None:
        problem = f"there is no package {package}; run this command in the folder of manage.py"
        raise Malformed([f"{SETTINGS_MODULE}={settings}: {problem}"])
    table = getattr(_environment_module(package), "Environment", None)
    return table if isinstance(table, type) and issubclass(table, Environment) else Environment


def _is_about_the_stack(file: str | None) -> bool:
    """Whether it may have a table. A project may have a module of that name for something else."""
    try:
        return file is not None and "sluice_stack" in Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _environment_module(package: str) -> ModuleType | None:
    """Import the package's module `environment` without the package: its `__init__` may import Django."""
    name = f"{package}.environment"
    if name in sys.modules:
        return sys.modules[name]
    parent = importlib.util.find_spec(package)
    places = parent.submodule_search_locations if parent else None
    spec = importlib.machinery.PathFinder.find_spec(name, places) if places else None
    if spec is None or spec.loader is None or not _is_about_the_stack(spec.origin):
        return None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
