"""A hook of MkDocs: links from a page to the repository's files.

In the repository such a link opens the file. The site does not contain those files, so there the link becomes
the file's path. A link to a file that does not exist fails the build.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

_LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\(((?:\.\./)+[^)\s#]*)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **kwargs: Any) -> str:
    """Called by MkDocs with each page's text."""
    docs = Path(config["docs_dir"]).resolve()
    source = Path(page.file.abs_src_path).parent

    def replace(match: re.Match[str]) -> str:
        text, target, _ = match.groups()
        path = (source / target).resolve()
        if path.is_relative_to(docs):
            return match[0]
        if not path.exists():
            raise PluginError(f"{page.file.src_uri} links to {target}, which does not exist")
        shown = path.relative_to(docs.parent)
        return text if str(shown) in text else f"{text} (`{shown}`)"

    return _LINK.sub(replace, markdown)
