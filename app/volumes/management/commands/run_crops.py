"""`manage.py run_crops`: cut the queued crops in this process, and remove deleted and old ones.

For development, and for a site without Celery.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from volumes import jobs, retention
from volumes.management.root import refuse_root
from volumes.models import Crop


class Command(BaseCommand):
    help = "Cut the queued crops, and remove deleted and old ones, without Celery or a broker."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--watch", action="store_true", help="keep running, and check for new crops every second"
        )

    def handle(self, *args: Any, watch: bool, **options: Any) -> None:
        refuse_root(Path(settings.MEDIA_ROOT))
        retention.clean_up()
        while True:
            for crop in Crop.objects.filter(state__in=Crop.OPEN).order_by("id"):
                if jobs.run(crop.pk):
                    crop.refresh_from_db()
                    self.stdout.write(f"{crop}: {crop.state}. {crop.error}".rstrip())
            retention.remove_discarded()
            if not watch:
                return
            time.sleep(1)
