"""`python -m sluice_stack.migrate`: what each version needs once, before the services start. Safe to repeat.

Tables; each role's rights; the administrator; a sample volume, if there is none; static files, for nginx.
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

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

# One file of the PyPI package nilearn, see app/requirements-sample.in: the ICBM 152 average T1-weighted
# brain.
SAMPLE: Final = "share/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
SAMPLE_TITLE: Final = "MNI ICBM 152, T1-weighted average brain"
# Only one at a time changes the tables.
_LOCK: Final = 0x51CF << 40


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
    import django

    django.setup()
    from django.db import OperationalError, connection

    try:
        with _alone(connection):
            for what, step in STEPS:
                began = time.monotonic()
                result = step()
                print(f"sluice migrate: {what}: {result} ({time.monotonic() - began:.1f} s)", flush=True)
    except OperationalError as error:
        print(
            f"sluice migrate: the database can't be reached: {' '.join(str(error).split())}", file=sys.stderr
        )
        raise SystemExit(1) from None


def tables() -> str:
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        call_command("migrate", interactive=False, verbosity=0)
    return f"applied {len(plan)} migrations" if plan else "up to date"


def rights() -> str:
    from django.db import connection

    from . import grants

    if connection.vendor != "postgresql":
        return "none, the database has no roles"
    roles = grants.apply(connection)
    return f"granted to {', '.join(roles)}" if roles else "none, there is one role for everything"


def administrator() -> str:
    """Made or refreshed: the password is the secret's, after each start. One whose secret is not set stays as
    it is."""
    from django.conf import settings
    from django.contrib.auth import get_user_model

    from .settings.source import secret

    password = secret(settings.ADMIN_PASSWORD_FILE, "ADMIN_PASSWORD_FILE")
    name = settings.ADMIN_USERNAME
    if not password:
        return "left alone, ADMIN_PASSWORD_FILE is not set"
    users = get_user_model().objects
    user = users.filter(username=name).first()
    if user is None:
        users.create_superuser(name, password=password)
        return f"made {name}"
    # Hashing anew would end the administrator's sessions.
    if user.check_password(password) and user.is_active and user.is_staff and user.is_superuser:
        return f"{name} is there"
    user.set_password(password)
    user.is_active = user.is_staff = user.is_superuser = True
    user.save()
    return f"refreshed {name}"


def sample() -> str:
    from django.conf import settings

    from volumes import formats, stores
    from volumes.models import Volume

    if Volume.objects.exists():
        return "not needed"
    root = Path(settings.BASE_DIR).parent
    path = (root / "var" if settings.DEBUG else root) / SAMPLE  # `make dev` fetches it
    if not path.is_file():
        return f"none, {path} is not there"
    source = formats.open_file(path)
    volume = stores.import_source(source, SAMPLE_TITLE, Path(settings.VOLUMES_ROOT), lambda percent: None)
    return f"imported {volume}"


def static() -> str:
    """Copied for nginx. What is there stays: pages that are still open ask for the names of the version
    before."""
    from django.conf import settings

    source, target = Path(settings.STATIC_ROOT), Path(settings.PUBLISHED_STATIC_ROOT)
    if not source.is_dir() or source == target:
        return "left alone"
    copied = sum(
        _copy(path, target / path.relative_to(source)) for path in sorted(source.rglob("*")) if path.is_file()
    )
    return f"copied {copied} files to {target}"


STEPS: Final[tuple[tuple[str, Callable[[], str]], ...]] = (
    ("tables", tables),
    ("rights", rights),
    ("administrator", administrator),
    ("sample volume", sample),
    ("static files", static),
)


def _copy(source: Path, target: Path) -> bool:
    """Copy unless the same is there. nginx sees the old file or the new one, never a half."""
    with contextlib.suppress(FileNotFoundError):
        if target.stat().st_size == source.stat().st_size and target.read_bytes() == source.read_bytes():
            return False
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.copyfile(source, unfinished)
    unfinished.chmod(0o644)
    os.replace(unfinished, target)
    return True


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
