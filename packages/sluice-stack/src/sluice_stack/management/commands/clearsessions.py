"""`manage.py clearsessions`: delete expired sessions, for cron on a site without Celery's beat.

Django's own command is part of django.contrib.sessions, which sluice_updates.sessions replaces.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from sluice_stack import session_cleaning


class Command(BaseCommand):
    help = "Delete expired sessions."

    def handle(self, *args: Any, **options: Any) -> None:
        session_cleaning.clean_up()
