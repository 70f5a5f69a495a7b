"""Paging for long lists, newest first: `?before=<id>` has the rows that are older than this id.

It uses ids instead of page numbers, so that new and deleted rows don't shift a page. A page of older rows can
then be updated like any other, and the last page costs as little as the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import QuerySet
from django.http import HttpRequest

from .api import ApiError, bad_field

SIZE: Final = 100  # rows per page
MAX_ID: Final = 2**63 - 1


@dataclass(frozen=True)
class Page:
    """One page of a list, newest rows first."""

    rows: Sequence[Any]
    before: int | None  # its rows are older than this id; None: it is the first page
    older: str | None  # the URL of the next page; None: there is none

    @property
    def place(self) -> str:
        """The query string of this page."""
        return _place(self.before)


def read_page(request: HttpRequest, rows: QuerySet[Any]) -> Page:
    """The page that the request asks for. `rows` are ordered by descending id. Raises ApiError (400)."""
    before = _read_before(request)
    if before is not None:
        rows = rows.filter(pk__lt=before)
    found = list(rows[: SIZE + 1])
    shown = found[:SIZE]
    older = request.path + _place(shown[-1].pk) if len(found) > SIZE else None
    return Page(shown, before, older)


def place_of(request: HttpRequest) -> str:
    """The query string of the page whose button was pressed; empty if it is invalid or the first page."""
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
    # int() would also accept spaces, signs, underscores, the digits of other scripts, and thousands of
    # digits.
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ID)) and 0 < int(text) <= MAX_ID):
        raise bad_field("before", f"must be an id, a whole number from 1 to {MAX_ID}", MAX_ID)
    return int(text)
