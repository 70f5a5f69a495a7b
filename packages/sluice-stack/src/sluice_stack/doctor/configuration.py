"""Settings: each program can read its own, and they are consistent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final

from django.core import checks

from sluice_stack import environment

from . import rights
from .deployment import Check, Deployment, Program
from .finding import Finding, failed, one_line, passed, warning


def _settings(deployment: Deployment) -> Iterator[Finding]:
    for name, problems in deployment.refused.items():
        for problem in problems:
            yield failed(one_line(problem), f"correct /etc/sluice/{name}.env or sluice.env", name)
    for program in deployment.programs:
        problems = environment.missing(program.env)
        for problem in problems:
            yield failed(one_line(problem), program.place, program.name)
        refused = list(_unreadable(program)) if os.geteuid() == 0 and not deployment.in_container else []
        yield from refused
        if not problems and not refused:
            yield passed("its settings and secrets can be read", program.name)


def _unreadable(program: Program) -> Iterator[Finding]:
    if account := rights.account_of(program.name):
        for file in account.unreadable(rights.files_of(program)):
            yield failed(
                f"{account.name} can't read {file}",
                f"chgrp {account.group_name} {file}; chmod 0640 {file} (and its folder: 0750)",
                program.name,
            )


def _debug(deployment: Deployment) -> Iterator[Finding]:
    found = [program for program in deployment.programs if program.env.debug]
    for program in found:
        yield failed(
            "DEBUG is on: an error page shows code and settings",
            f"set DEBUG=no in {program.place}",
            program.name,
        )
    if not found:
        yield passed("DEBUG is off")


def _address(deployment: Deployment) -> Iterator[Finding]:
    front = deployment.front
    for program in deployment.programs:
        env = program.env
        own = f"{env.site_url}{env.url_prefix}"
        if front is not None and own != front.url:
            yield failed(
                f"its settings say that the site is at {own}, not {front.url}",
                f"correct SITE_URL and URL_PREFIX in {program.place}",
                program.name,
            )
        elif env.site_url != deployment.env.site_url or env.url_prefix != deployment.env.url_prefix:
            yield failed(
                f"its settings say that the site is at {own}; other programs have another address",
                f"correct SITE_URL and URL_PREFIX in {program.place}",
                program.name,
            )
        else:
            yield passed(own, program.name)


def _system_checks(deployment: Deployment) -> Iterator[Finding]:
    """The system checks of sluice_updates, with this command's settings: docs/reference/system-checks.md."""
    # Without push, W002 (missing packages) repeats what push-installed reports.
    found = [
        message
        for message in checks.run_checks(tags=["sluice_updates"])
        if deployment.push or message.id != "sluice_updates.W002"
    ]
    for message in found:
        say = failed if message.level >= checks.ERROR else warning
        yield say(
            one_line(message.msg),
            one_line(message.hint or "docs/reference/system-checks.md"),
            message.id or "",
        )
    if not found:
        yield passed("manage.py check --tag sluice_updates finds nothing")


CHECKS: Final = [
    Check("settings", "each program's settings and secrets can be used", _settings),
    Check("settings-debug", "DEBUG is off", _debug),
    Check("settings-address", "all programs have the same address of the site", _address),
    Check("settings-checks", "the settings fit each other", _system_checks),
]
