"""`manage.py try_updates http://localhost`: go all the ways that a page goes, from outside, and time them."""

from __future__ import annotations

import contextlib
import sys
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from sluice_updates.probe.paths import Trial, database_error


class Command(BaseCommand):
    help = (
        "Sign in for a moment, and receive an update by polling, by an event stream and by a WebSocket, as a"
        " page does. Says for each what came of it, and what is missing. Exit status 1 if something is."
    )

    # Whatever a check says, the trial says whether it works.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("url", help="where people find the site, such as https://example.org/notes")
        parser.add_argument(
            "--user", help="as whom; by default the first active user, no superuser if there is another"
        )
        parser.add_argument(
            "--page", metavar="PATH", help="a page that should load updates.js, such as / or /notes/"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            good = self._try(options)
        except Error as error:
            raise CommandError(database_error(error)) from error
        if not good:
            sys.exit(1)

    def _try(self, options: Any) -> bool:
        """Whether every way works."""
        users = get_user_model().objects.filter(is_active=True)
        if options["user"]:
            users = users.filter(**{get_user_model().USERNAME_FIELD: options["user"]})
        user = users.order_by(*_last_the_superusers(), "pk").first()
        if user is None:
            raise CommandError("there is no such user, and nobody who isn't signed in receives updates")
        good = True
        with contextlib.ExitStack() as stack:
            try:
                trial = stack.enter_context(Trial(options["url"], user))
            except (LookupError, ValueError) as error:
                raise CommandError(str(error)) from error
            for outcome in trial.outcomes(page=options["page"]):
                good = good and outcome.good
                self.stdout.write(f"{outcome.what}: {outcome.words}")
                self.stdout.flush()
        return good


def _last_the_superusers() -> list[str]:
    """A session of somebody who may do everything is made only where there is nobody else."""
    names = {field.name for field in get_user_model()._meta.get_fields()}
    return ["is_superuser"] if "is_superuser" in names else []
