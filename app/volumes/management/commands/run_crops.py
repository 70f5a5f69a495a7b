"""`manage.py run_crops`: cut the crops that wait, and remove those that were deleted or whose days are over,
here and now. For development, and for a site without Celery."""

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
    help = (
        "Cut the crops that wait, and remove those that were deleted or are old, without Celery or a broker."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--watch", action="store_true", help="go on, and look for new ones every second")

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
