"""`manage.py trim_updates`: delete old updates, for cron on a site without the stack's beat."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand

from sluice_updates import conf
from sluice_updates.trimming import trim


class Command(BaseCommand):
    help = "Delete old updates, and those above the limit per stream. Pages that still need them reload."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--max-age-days",
            type=float,
            default=conf.max_age_days(),
            help="delete updates older than this (default: %(default)s, SLUICE_UPDATES_MAX_AGE_DAYS)",
        )
        parser.add_argument(
            "--max-per-stream",
            type=int,
            default=conf.max_per_stream(),
            help="keep so many updates of each stream (default: %(default)s, SLUICE_UPDATES_MAX_PER_STREAM)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        deleted = trim(timedelta(days=options["max_age_days"]), options["max_per_stream"])
        self.stdout.write(f"trimmed {deleted} updates")
