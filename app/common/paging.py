"""Long lists, a page at a time, newest first: `?before=<id>` has the rows that are older than this id.

By ids instead of page numbers: new and deleted rows shift nothing, so a page of older rows can be kept up to
date like any other, and the last page costs no more than the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import QuerySet
from django.http import HttpRequest

from .api import ApiError, bad_field

SIZE: Final = 100  # rows of a page
MAX_ID: Final = 2**63 - 1


@dataclass(frozen=True)
class Page:
    """Some of the rows of a list, newest first."""

    rows: Sequence[Any]
    before: int | None  # the page's own place; None: it begins with the newest
    older: str | None  # the URL of the page that follows, where there is more

    @property
    def place(self) -> str:
        """The query that leads to this page."""
        return _place(self.before)


def read_page(request: HttpRequest, rows: QuerySet[Any]) -> Page:
    """The page that the request asks for, of rows that are ordered by falling id. Raises ApiError: 400."""
    before = _read_before(request)
    if before is not None:
        rows = rows.filter(pk__lt=before)
    found = list(rows[: SIZE + 1])
    shown = found[:SIZE]
    older = request.path + _place(shown[-1].pk) if len(found) > SIZE else None
    return Page(shown, before, older)


def place_of(request: HttpRequest) -> str:
    """The query that leads back to the page whose button was pressed; without one, to the newest."""
    try:
        return _place(_read_before(request))
    except ApiError:
        return ""


def _place(before: int | None) -> str:
    return "" if before is None else f"?before={before}"


def _read_before(request: HttpRequest) -> int | None:
    given = request.GET.getlist("before")
    if not given:
        return None
    if len(given) > 1:
        raise bad_field("before", "is given twice")
    (text,) = given
    # int() would take spaces, signs, underlines and other scripts' digits, and thousands of them.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ID)) and 0 < int(text) <= MAX_ID):
        raise bad_field("before", f"must be an id, a whole number from 1 to {MAX_ID}", MAX_ID)
    return int(text)
