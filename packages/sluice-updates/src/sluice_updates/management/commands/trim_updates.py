"""`manage.py trim_updates`: delete old updates; for cron, if no Celery task does it."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand

from sluice_updates import conf
from sluice_updates.trimming import trim


class Command(BaseCommand):
    help = "Delete updates that are too old or too many. Clients that still need them are told to reload."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--max-age-days",
            type=float,
            default=conf.max_age_days(),
            help="default %(default)s, SLUICE_UPDATES_MAX_AGE_DAYS",
        )
        parser.add_argument(
            "--max-per-stream",
            type=int,
            default=conf.max_per_stream(),
            help="default %(default)s, SLUICE_UPDATES_MAX_PER_STREAM",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        deleted = trim(timedelta(days=options["max_age_days"]), options["max_per_stream"])
        self.stdout.write(f"trimmed {deleted} updates")
