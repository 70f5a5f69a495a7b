"""All checks, in the order in which they are made, and how they are made: none ever raises."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from . import broker, configuration, database, files, layer, limits, programs, push, site, split, versions
from .deployment import Deployment
from .finding import Check, Finding, LeftOut, failure, left_out, one_line
from .wire import NoAnswer

ALL: Final[list[Check]] = [
    *configuration.CHECKS,
    *programs.CHECKS,
    *files.CHECKS,
    *versions.CHECKS,
    *site.CHECKS,
    *split.CHECKS,
    *push.CHECKS,
    *database.CHECKS,
    *broker.CHECKS,
    *layer.CHECKS,
    *limits.CHECKS,
    *push.LAST,
]
NAMES: Final = [check.name for check in ALL]
# What another one needs to have been made.
_NEEDS: Final = {"push-idle": "push-hello"}


def examine(deployment: Deployment, only: Collection[str] = ()) -> Iterator[tuple[Check, list[Finding]]]:
    """Make them, or only those named, one after the other; what each finds, as soon as it has."""
    wanted = {*only, *(_NEEDS[name] for name in only if name in _NEEDS)} or set(NAMES)
    try:
        for check in ALL:
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
    except LeftOut as reason:
        yield left_out(str(reason))
    except NoAnswer as error:
        yield failure(f"nginx gave no answer: {error}", "see front-answers, and nginx's error log")
    except Exception as error:  # a defect of the doctor's own must not hide what the others find
        yield failure(
            f"the doctor itself failed: {type(error).__name__}: {one_line(error)}",
            "this is a defect of the check, not of the site: please report it",
        )
    else:
        if not found:
            yield left_out("nothing to look at: what it stands on failed, see above")
