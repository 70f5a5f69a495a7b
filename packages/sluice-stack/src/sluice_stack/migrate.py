"""`python -m sluice_stack.migrate`: prepares a version before its services start. It is safe to repeat.

It migrates the tables, grants each role's rights, creates the administrator, runs the project's own steps,
and copies the static files for nginx.

The project's setting SLUICE_STACK_MIGRATE_STEPS adds steps. It maps a step's name, for the log, to the dotted
path of a function without arguments that returns what it did, in a few words.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import environment
from .environment import ENV_FILE

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

# The advisory lock that keeps a second process from running the steps at the same time.
_LOCK: Final = 0x51CF << 40
# A running PostgreSQL takes a secret that init has just created at its next health check, every 10 s.
_SECRET_SECONDS: Final = 25.0


def main() -> None:
    try:
        environment.load()  # sets DJANGO_SETTINGS_MODULE on a host
    except environment.Malformed as error:
        environment.refuse(error.problems, "migrate")
    if not os.environ.get("DJANGO_SETTINGS_MODULE"):
        problem = f"DJANGO_SETTINGS_MODULE is not set; name the site's settings, on a host in {ENV_FILE}"
        environment.refuse([problem], "migrate")
    import django

    django.setup()
    from django.db import OperationalError, connection

    try:
        _sign_in(connection)
        with _alone(connection):
            for what, step in steps():
                began = time.monotonic()
                result = step()
                print(f"sluice migrate: {what}: {result} ({time.monotonic() - began:.1f} s)", flush=True)
    except OperationalError as error:
        reason = " ".join(str(error).split())
        print(f"sluice migrate: the database can't be reached: {reason}", file=sys.stderr)
        raise SystemExit(1) from None


def steps() -> Iterator[tuple[str, Callable[[], str]]]:
    """All steps in their order, each with its name for the log."""
    from django.conf import settings
    from django.utils.module_loading import import_string

    yield "tables", tables
    yield "rights", rights
    yield "administrator", administrator
    for what, path in getattr(settings, "SLUICE_STACK_MIGRATE_STEPS", {}).items():
        yield what, import_string(path)
    yield "static files", static


def tables() -> str:
    """Apply the migrations."""
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        call_command("migrate", interactive=False, verbosity=0)
    return f"applied {len(plan)} migrations" if plan else "up to date"


def rights() -> str:
    """Grant each service's role its rights (grants.py)."""
    from django.db import connection

    from . import grants

    if connection.vendor != "postgresql":
        return "none: the database has no roles"
    roles = grants.apply(connection)
    return f"granted to {', '.join(roles)}" if roles else "none: one role does everything"


def administrator() -> str:
    """Create the administrator, or reset the password to that in the secret.

    Without a secret, change nothing.
    """
    from django.conf import settings
    from django.contrib.auth import get_user_model

    from .settings.source import secret

    password = secret(getattr(settings, "SLUICE_STACK_ADMIN_PASSWORD_FILE", ""), "ADMIN_PASSWORD_FILE")
    name = getattr(settings, "SLUICE_STACK_ADMIN_USERNAME", "admin")
    if not password:
        return "unchanged: ADMIN_PASSWORD_FILE is not set"
    users = get_user_model().objects
    user = users.filter(username=name).first()
    if user is None:
        users.create_superuser(name, password=password)
        return f"created {name}"
    # Setting the same password again would end the administrator's sessions.
    if user.check_password(password) and user.is_active and user.is_staff and user.is_superuser:
        return f"{name} exists"
    user.set_password(password)
    user.is_active = user.is_staff = user.is_superuser = True
    user.save()
    return f"reset {name}"


def static() -> str:
    """Copy the static files for nginx. Older files stay: open pages request the previous version's names."""
    from django.conf import settings

    published = getattr(settings, "SLUICE_STACK_STATIC_ROOT", "")
    source, target = Path(settings.STATIC_ROOT), Path(published)
    if not (published and source.is_dir()) or source == target:
        return "nothing to copy"
    copied = sum(
        _copy(path, target / path.relative_to(source)) for path in sorted(source.rglob("*")) if path.is_file()
    )
    return f"copied {copied} files to {target}"


def _copy(source: Path, target: Path) -> bool:
    """Copy a file if it differs. The copy is atomic: nginx never reads a partial file."""
    with contextlib.suppress(FileNotFoundError):
        if target.stat().st_size == source.stat().st_size and target.read_bytes() == source.read_bytes():
            return False
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.copyfile(source, unfinished)
    unfinished.chmod(0o644)
    os.replace(unfinished, target)
    return True


def _sign_in(connection: BaseDatabaseWrapper) -> None:
    """In a container, wait while the database does not know the password yet."""
    from django.db import OperationalError

    deadline = time.monotonic() + (_SECRET_SECONDS if os.environ.get("SLUICE_SERVICE") else 0.0)
    while True:
        try:
            connection.ensure_connection()
            return
        except OperationalError as error:
            if "password authentication failed" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.5)


@contextlib.contextmanager
def _alone(connection: BaseDatabaseWrapper) -> Iterator[None]:
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


if __name__ == "__main__":
    main()
