"""The sample volume: a step of `python -m sluice_stack.migrate` (SLUICE_STACK_MIGRATE_STEPS)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from django.conf import settings

from . import formats, stores
from .models import Volume

# A file of the PyPI package nilearn (app/requirements-sample.in): the ICBM 152 average T1-weighted brain.
FILE: Final = "share/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
TITLE: Final = "MNI ICBM 152, T1-weighted average brain"


def import_sample() -> str:
    """Import the sample volume if there is no volume. Returns what was done, for the log."""
    if Volume.objects.exists():
        return "not imported: there are volumes"
    root = Path(settings.BASE_DIR).parent
    path = (root / "var" if settings.DEBUG else root) / FILE  # `make dev` downloads it to var/
    if not path.is_file():
        return f"not imported: {path} does not exist"
    source = formats.open_file(path)
    volume = stores.import_source(source, TITLE, Path(settings.VOLUMES_ROOT), lambda percent: None)
    return f"imported {volume}"
