"""All checks in their order, and the function that runs them.

An error in one check doesn't stop the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from sluice_updates.probe.http import NoAnswer

from . import broker, configuration, database, layer, limits, programs, push, site, split, versions
from .deployment import Check, Deployment, project_checks
from .finding import Finding, Skipped, failed, one_line, skipped

_FIRST: Final = [
    *configuration.CHECKS,
    *programs.CHECKS,
    *versions.CHECKS,
    *site.CHECKS,
    *split.CHECKS,
    *push.CHECKS,
    *database.CHECKS,
    *broker.CHECKS,
    *layer.CHECKS,
    *limits.CHECKS,
]
# Checks that need another one to have run before.
_NEEDS: Final = {"push-idle": "push-hello"}


def every() -> list[Check]:
    """The stack's checks, the project's, and those that must come last."""
    return [*_FIRST, *project_checks, *push.LAST]


def names() -> list[str]:
    return [check.name for check in every()]


def examine(deployment: Deployment, only: Collection[str] = ()) -> Iterator[tuple[Check, list[Finding]]]:
    """Run all checks, or only those named, in their order. Yields each with its findings when it is done."""
    wanted = {*only, *(_NEEDS[name] for name in only if name in _NEEDS)} or set(names())
    try:
        for check in every():
            if check.name in wanted:
                yield check, list(_findings(check, deployment))
    finally:
        if deployment.front is not None:
            deployment.front.close()
        deployment.visitor.close()


def _findings(check: Check, deployment: Deployment) -> Iterator[Finding]:
    found = False
    try:
        for finding in check.look(deployment):
            found = True
            yield finding
    except Skipped as reason:
        yield skipped(str(reason))
    except NoAnswer as error:
        yield failed(f"nginx does not answer: {error}", "see front-answers, and nginx's error log")
    except Exception as error:  # a defect of one check must not hide the findings of the others
        yield failed(
            f"the doctor itself failed: {type(error).__name__}: {one_line(error)}",
            "this is a defect of the check, not of the site; report it",
        )
    else:
        if not found:
            yield skipped("there is nothing to check: an earlier check failed, see above")
