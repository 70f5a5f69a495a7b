"""Crops and images: that whoever makes, removes or reads them may."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from django.conf import settings

from .deployment import Deployment, Program
from .finding import Check, Finding, LeftOut, failure, ok
from .rights import Account, account_of

# By service; also without push, where cron does it in their place.
_WRITE_MEDIA: Final = ("celery", "beat")
_READ_VOLUMES: Final = ("wsgi", "worker", "celery")


def _usable(deployment: Deployment) -> Iterator[Finding]:
    if os.geteuid() != 0 and not deployment.in_container:
        raise LeftOut("only root can ask as the programs' users")
    programs = [one for one in deployment.programs if one.service in {*_WRITE_MEDIA, *_READ_VOLUMES}]
    if not programs:
        raise LeftOut("the program that runs here has no use for them")
    for program in programs:
        account = Account.own() if deployment.in_container else account_of(program.name)
        if account is None:
            raise LeftOut("nobody knows who the programs run as: none runs, and there is no www-data")
        bad = list(_refused(program, account))
        yield from bad
        if not bad:
            yield ok("it can use crops and images", program.name)


def _refused(program: Program, account: Account) -> Iterator[Finding]:
    media = Path(program.env.media_root or settings.MEDIA_ROOT)
    volumes = Path(getattr(program.env, "volumes_root", "") or settings.VOLUMES_ROOT)
    # A folder that isn't there yet is made with the first crop.
    if program.service in _WRITE_MEDIA and (
        found := account.refused("write", _nearest(media), "-type", "d", depth=1)
    ):
        yield failure(
            f"no crop can be put into {found}, nor removed from it, by {account.name}",
            _cure(account, media),
            program.name,
        )
    # Of each store its top: it is made as a whole, and may have millions of chunks.
    if (
        program.service in _READ_VOLUMES
        and volumes.exists()
        and (found := account.refused("read", volumes, depth=2))
    ):
        yield failure(f"{found} can't be read by {account.name}", _cure(account, volumes), program.name)


def _nearest(folder: Path) -> Path:
    """It, or what is there of the way to it."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _cure(account: Account, folder: Path) -> str:
    return (
        f"chown --recursive {account.name} {folder} and chmod --recursive u=rwX {folder};"
        " run_crops and import_volume are that user's to run, not root's"
    )


CHECKS: Final = [Check("files", "crops can be written and removed, images be read", _usable)]
