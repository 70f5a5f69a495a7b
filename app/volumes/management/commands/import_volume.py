"""`manage.py import_volume FILE`: create a volume from an image file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from volumes import formats, stores
from volumes.management.root import refuse_root


class Command(BaseCommand):
    help = (
        "Import an image volume: NIfTI (.nii, .nii.gz), a TIFF stack (.tif, .tiff) or a Zarr store (.zarr)."
        " Its voxels are copied, so the file is not needed afterwards."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--title", help="the title on the site (default: the file's name)")

    def handle(self, *args: Any, file: Path, title: str | None, **options: Any) -> None:
        refuse_root(Path(settings.VOLUMES_ROOT))
        title = title or file.name.split(".")[0]
        if not title or len(title) > 200 or not title.isprintable():
            raise CommandError("--title must be one line of at most 200 characters.")
        if not file.exists():
            raise CommandError(f"{file} does not exist.")
        try:
            source = formats.open_file(file)
            volume = stores.import_source(source, title, Path(settings.VOLUMES_ROOT), self._progress)
        except formats.BadFile as error:
            raise CommandError(f"{file} can't be imported: {error}.") from error
        except OSError as error:
            raise CommandError(f"{file} can't be imported into {settings.VOLUMES_ROOT}: {error}.") from error
        self.stdout.write(
            f"Volume {volume.pk}, {volume.title}:"
            f" {volume.size_x} × {volume.size_y} × {volume.size_z} voxels of {volume.dtype}."
        )

    def _progress(self, percent: int) -> None:
        if self.stdout.isatty():
            self.stdout.write(f"\r{percent:3} %", ending="\n" if percent >= 100 else "")
            self.stdout.flush()
