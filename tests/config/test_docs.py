"""The documentation: every link and anchor has a target, and every page is in the site's navigation.

`make docs` checks the site's pages again with MkDocs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from config.host_shell import SOURCE

# Folders that git ignores, and .git itself.
IGNORED = {".git", ".venv", "build", "dist", "node_modules", "results", "var"}
# Fenced blocks and inline code may contain text that only looks like a link.
CODE = re.compile(r"^( *)(```|~~~).*?^ *\2 *$|(`+)(?!`).+?(?<!`)\3(?!`)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*([^)\s]+)(?:\s+\"[^\"]*\")?\s*\)")
# This page is part of its package, but a copy of a page in docs/reference/, and its links are relative to
# that.
COPY = "packages/sluice-updates/src/sluice_updates/PROTOCOL.md"


def pages() -> list[str]:
    found = (path.relative_to(SOURCE) for path in SOURCE.rglob("*.md"))
    return sorted(str(path) for path in found if not IGNORED & set(path.parts))


def broken_links(page: Path) -> Iterator[str]:
    """The page's links that have no target."""
    for target in LINK.findall(CODE.sub("", page.read_text())):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / unquote(path) if path else page
        missing = target.startswith("/") or not there.exists()
        if missing or (anchor and (there.suffix != ".md" or anchor not in anchors(there))):
            yield target


def anchors(page: Path) -> set[str]:
    """The page's anchors, as GitHub and the slugify of mkdocs.yml derive them from its headings."""
    text = re.sub(r"^( *)(```|~~~).*?^ *\2 *$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.*?) *#*$", text, re.MULTILINE):
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        found.add(re.sub(r"[^\w -]", "", words.lower()).strip().replace(" ", "-"))
    return found


def site() -> dict[str, Any]:
    """mkdocs.yml without its tags for Python objects."""
    text = re.sub(r"!!python/\S+", "", (SOURCE / "mkdocs.yml").read_text())
    configuration: dict[str, Any] = yaml.safe_load(text)
    return configuration


def targets(navigation: Any) -> Iterator[str]:
    """The pages in a part of the navigation."""
    if isinstance(navigation, str):
        yield navigation
    else:
        for part in navigation.values() if isinstance(navigation, dict) else navigation:
            yield from targets(part)


@pytest.mark.parametrize("page", [page for page in pages() if page != COPY])
def test_every_link_and_anchor_leads_somewhere(page: str) -> None:
    assert list(broken_links(SOURCE / page)) == []


def test_a_broken_link_or_anchor_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A `b` · c\n\n```\n# not a heading\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md#a-b--c) [b](there.md#not-a-heading) [c](gone.md) [d](#nothing) `[e](code.md)`\n"
        "[over two\nlines](gone-too.md) ![image](gone.png) [f](https://example.org/x) [g](/absolute.md)\n"
    )
    assert list(broken_links(page)) == [
        "there.md#not-a-heading",
        "gone.md",
        "#nothing",
        "gone-too.md",
        "gone.png",
        "/absolute.md",
    ]


def test_the_navigation_holds_every_page_once() -> None:
    written = sorted(str(path.relative_to(SOURCE / "docs")) for path in (SOURCE / "docs").rglob("*.md"))
    assert len(written) > 20
    assert sorted(targets(site()["nav"])) == written


def test_the_site_is_strict_and_fetches_nothing() -> None:
    configuration = site()
    assert configuration["strict"] is True
    assert configuration["theme"]["font"] is False
    assert {level for part in configuration["validation"].values() for level in part.values()} == {"warn"}
    # Material would load Mermaid from another server.
    for page in (SOURCE / "docs").rglob("*.md"):
        assert "```mermaid" not in page.read_text(), page
    assert not {"extra_css", "extra_javascript"} & configuration.keys()


def test_links_of_the_packages_page_exist() -> None:
    reference = SOURCE / "docs/reference"
    for target in LINK.findall(CODE.sub("", (SOURCE / COPY).read_text())):
        path = target.partition("#")[0]
        assert target.startswith("https:") or not path or (reference / path).exists(), target
