"""The site's own check of `manage.py doctor`, registered in apps.py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from django.conf import settings

from sluice_stack.doctor.deployment import Check, Deployment, Program
from sluice_stack.doctor.finding import Finding, Skipped, failed, passed
from sluice_stack.doctor.rights import Account, account_of

# By service. Without push, cron jobs do their work with the same settings.
_WRITE_MEDIA: Final = ("celery", "beat")
_READ_VOLUMES: Final = ("wsgi", "worker", "celery")


def _usable(deployment: Deployment) -> Iterator[Finding]:
    if os.geteuid() != 0 and not deployment.in_container:
        raise Skipped("only root can check the files as the programs' users")
    programs = [one for one in deployment.programs if one.service in {*_WRITE_MEDIA, *_READ_VOLUMES}]
    if not programs:
        raise Skipped("the program that runs here does not use them")
    for program in programs:
        account = Account.own() if deployment.in_container else account_of(program.name)
        if account is None:
            raise Skipped("the programs' user is unknown: none of them runs, and there is no user www-data")
        bad = list(_refused(program, account))
        yield from bad
        if not bad:
            yield passed("it can use crops and images", program.name)


def _refused(program: Program, account: Account) -> Iterator[Finding]:
    media = Path(program.env.media_root or settings.MEDIA_ROOT)
    volumes = Path(getattr(program.env, "volumes_root", "") or settings.VOLUMES_ROOT)
    # The first crop creates a missing folder.
    if program.service in _WRITE_MEDIA and (
        found := account.refused("write", _nearest(media), "-type", "d", depth=1)
    ):
        yield failed(
            f"{account.name} can't write crops to {found} or remove them",
            _fix(account, media),
            program.name,
        )
    # Only the top of each store: a store may have millions of chunks, all created by one import.
    if (
        program.service in _READ_VOLUMES
        and volumes.exists()
        and (found := account.refused("read", volumes, depth=2))
    ):
        yield failed(f"{account.name} can't read {found}", _fix(account, volumes), program.name)


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _fix(account: Account, folder: Path) -> str:
    return (
        f"chown --recursive {account.name} {folder} and chmod --recursive u=rwX {folder};"
        f" run run_crops and import_volume as {account.name}, not as root"
    )


FILES: Final = Check("files", "each program's user can write crops and read images", _usable)
