"""`manage.py doctor [URL]`: the problems of this deployment, and their fixes.

Exit status: 0 if no check failed (there may be warnings), 1 if one failed, 2 for wrong arguments, 78 if the
common settings are invalid. Reference: docs/reference/doctor.md.
"""

from __future__ import annotations

import logging
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sluice_stack.doctor import checks, report
from sluice_stack.doctor.deployment import here
from sluice_stack.doctor.finding import FAILED
from sluice_stack.doctor.front import NotAnAddress
from sluice_stack.doctor.visitor import Visitor


class Command(BaseCommand):
    help = "Find the problems of this deployment, and name their fixes."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("url", nargs="?", default="", help="the site's address (default: SITE_URL)")
        parser.add_argument(
            "--at", default="", metavar="HOST:PORT", help="where nginx listens, if not at the address"
        )
        parser.add_argument("--inside", action="store_true", help="do not check nginx")
        parser.add_argument(
            "--clients", type=int, default=0, help="clients to have room for (default: MAX_CLIENTS)"
        )
        parser.add_argument("--patient", action="store_true", help="watch an idle socket for 70 s")
        parser.add_argument("--read-only", action="store_true", help="create no user for the checks")
        parser.add_argument("--only", nargs="+", default=[], metavar="CHECK", help="run only these checks")
        parser.add_argument("--quiet", action="store_true", help="hide what passed")
        parser.add_argument("--json", action="store_true", help="a line of JSON for each finding")
        parser.add_argument("--list", action="store_true", help="list the checks, and run none")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["list"]:
            for check in checks.every():
                self.stdout.write(f"{check.name:<24}{check.title}")
            return
        if unknown := sorted(set(options["only"]) - set(checks.names())):
            raise CommandError(f"no such check: {', '.join(unknown)} (--list has them all)", returncode=2)
        logging.disable(logging.CRITICAL)  # the layer and the drivers log what the findings report
        try:
            deployment = here(
                options["url"], options["at"], inside=options["inside"], clients=options["clients"]
            )
        except NotAnAddress as error:
            raise CommandError(str(error), returncode=2) from None
        deployment.patient = options["patient"]
        deployment.visitor = Visitor(allowed=not options["read_only"])
        verdicts = []
        for check, findings in checks.examine(deployment, options["only"]):
            verdicts += [finding.verdict for finding in findings]
            if options["json"]:
                lines = [report.as_json(check, finding) for finding in findings]
            else:
                colour = self.stdout.isatty()
                lines = list(report.as_text(check, findings, colour=colour, quiet=options["quiet"]))
            for line in lines:
                self.stdout.write(line)
            self.stdout.flush()
        if not options["json"]:
            self.stdout.write(report.summary(verdicts))
        if FAILED in verdicts:
            raise SystemExit(1)
