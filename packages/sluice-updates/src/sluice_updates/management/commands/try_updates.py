"""`manage.py try_updates URL`: try each path of an update from a commit to a page, from outside."""

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
        "Receive an update by polling and by an event stream, and open a WebSocket, as a page does. Creates a"
        " session for it, and deletes it at the end. Prints a line for each, with the fix if it fails. Exit"
        " status 1 if one fails."
    )

    # The command must also run when a system check fails.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "url", help="the site's address in the browser, such as https://example.org/notes"
        )
        parser.add_argument(
            "--user", help="the session's user (default: the first active user who is not a superuser)"
        )
        parser.add_argument(
            "--page", metavar="PATH", help="a page with {%% sluice_updates %%}, such as / or /notes/"
        )

        parser.add_argument(
            "--connect",
            default="",
            metavar="ADDRESS",
            help="connect to this address instead of the URL's host, such as 127.0.0.1 for a proxy here",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            good = self._try(options)
        except Error as error:
            raise CommandError(database_error(error)) from error
        if not good:
            sys.exit(1)

    def _try(self, options: Any) -> bool:
        """Whether every path works."""
        users = get_user_model().objects.filter(is_active=True)
        if options["user"]:
            users = users.filter(**{get_user_model().USERNAME_FIELD: options["user"]})
        user = users.order_by(*_last_the_superusers(), "pk").first()
        if user is None:
            raise CommandError(
                "there is no such active user; create one, since only signed-in users receive updates"
            )
        good = True
        with contextlib.ExitStack() as stack:
            try:
                trial = stack.enter_context(Trial(options["url"], user, connect=options["connect"]))
            except (LookupError, ValueError) as error:
                raise CommandError(str(error)) from error
            for outcome in trial.outcomes(page=options["page"]):
                good = good and outcome.good
                self.stdout.write(f"{outcome.what}: {outcome.words}")
                self.stdout.flush()
        return good


def _last_the_superusers() -> list[str]:
    """The ordering with superusers last, so that one gets a session only if there is no other user."""
    names = {field.name for field in get_user_model()._meta.get_fields()}
    return ["is_superuser"] if "is_superuser" in names else []
