"""Writes Markdown, wrapped at 100 columns, line by line."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence


def paragraph(text: str, *, first: str = "", then: str = "") -> Iterator[str]:
    """A paragraph, wrapped."""
    yield from textwrap.wrap(
        " ".join(text.split()),
        100,
        initial_indent=first,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    )
    if not first:
        yield ""


def item(text: str, bullet: str = "-") -> Iterator[str]:
    """An item of a list, wrapped."""
    yield from paragraph(text, first=f"{bullet} ", then=" " * (len(bullet) + 1))


def heading(text: str, level: int = 2) -> Iterator[str]:
    """A heading, and an empty line."""
    yield f"{'#' * level} {text}"
    yield ""


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> Iterator[str]:
    """A table whose first `left` columns are text, the others figures."""
    yield f"| {' | '.join(titles)} |"
    yield "|" + "---|" * left + "---:|" * (len(titles) - left)
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
