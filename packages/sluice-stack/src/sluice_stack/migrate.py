"""`python -m sluice_stack.migrate`: prepares a version before its services start. It is safe to repeat.

It migrates the tables, grants each role's rights, creates the administrator, runs the project's own steps,
and copies the static files for nginx.

The project's setting SLUICE_STACK_MIGRATE_STEPS adds steps. It maps a step's name, for the log, to the dotted
path of a function without arguments that returns what it did, in a few words. SLUICE_STACK_COMMANDS is a list
of management commands, such as ["update_index", "loaddata places"], which run after those steps.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from . import environment
from .startup import set_up

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

# The advisory lock that keeps a second process from running the steps at the same time.
_LOCK: Final = 0x51CF << 40
_ENGINE: Final = "sluice_stack.postgresql"
# A running PostgreSQL takes a secret that init has just created at its next health check, every 10 s.
_SECRET_SECONDS: Final = 25.0


def main() -> None:
    set_up("migrate")
    from django.core.management import CommandError
    from django.db import OperationalError, connection

    _refuse_other_database()
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
    except CommandError as error:
        print(f"sluice migrate: {' '.join(str(error).split())}", file=sys.stderr)
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
    for line in getattr(settings, "SLUICE_STACK_COMMANDS", []):
        yield f"manage.py {line}", partial(command, line)
    yield "static files", static


def command(line: str) -> str:
    """Run a management command. Raises CommandError."""
    from django.core.management import CommandError, call_command

    try:
        call_command(*shlex.split(line))
    except CommandError as error:
        raise CommandError(f"the command {line!r} of SLUICE_STACK_COMMANDS failed: {error}") from error
    return "done"


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
    model = get_user_model()
    field = model.USERNAME_FIELD
    name = _name_for(model._meta.get_field(field), getattr(settings, "SLUICE_STACK_ADMIN_USERNAME", "admin"))
    if not password:
        return "unchanged: ADMIN_PASSWORD_FILE is not set"
    user = model._default_manager.filter(**{field: name}).first()
    if user is None:
        return _create_administrator(model, {field: name, "password": password}, name)
    fields = {field.name for field in model._meta.fields}
    rights = [right for right in ("is_active", "is_staff", "is_superuser") if right in fields]
    # Setting the same password again would end the administrator's sessions.
    if user.check_password(password) and all(getattr(user, right) for right in rights):
        return f"{name} exists"
    user.set_password(password)
    for right in rights:
        setattr(user, right, True)
    user.save()
    return f"reset {name}"


def _name_for(field: Any, name: str) -> str:
    """The administrator's name. Where users sign in with an address: one at the site's host."""
    from django.conf import settings
    from django.db.models import EmailField

    if "@" in name or not isinstance(field, EmailField):
        return name
    return f"{name}@{settings.ALLOWED_HOSTS[0]}"


def _create_administrator(model: Any, values: dict[str, str], name: str) -> str:
    """Create it. A user model may require more than is known here; then the operator has to."""
    try:
        model._default_manager.create_superuser(**values)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        how = "docker compose run --rm migrate python manage.py createsuperuser"
        return f"not created, since the project's user model needs more ({reason}): run {how}"
    return f"created {name}"


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


def _refuse_other_database() -> None:
    """In a container, refuse a database that lines after `configure(globals())` have put in its place."""
    from django.conf import settings

    wanted = environment.load().database_url
    if wanted.startswith("postgresql:") and settings.DATABASES["default"].get("ENGINE") != _ENGINE:
        problem = (
            f"{settings.SETTINGS_MODULE} has another database than the stack's;"
            " configure(globals()) must be the last line of the settings"
        )
        environment.refuse([problem], "migrate")


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
