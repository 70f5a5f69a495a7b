"""`manage.py clearsessions`: for cron, where Celery's beat does not run. (Django's own is part of an app that
isn't installed here.)"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from sluice_stack import session_cleaning


class Command(BaseCommand):
    help = "Delete the sessions that have expired."

    def handle(self, *args: Any, **options: Any) -> None:
        session_cleaning.clean_up()
