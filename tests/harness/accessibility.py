"""What axe-core finds wrong with a page, for whoever listens to it, uses keys, or sees little.

https://github.com/dequelabs/axe-core/blob/develop/doc/rule-descriptions.md
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

from playwright.sync_api import Page


def mistakes(page: Page) -> list[str]:
    """Each with the page's path, the rule, how bad it is, and the elements. Best practices count too."""
    # By the debugger, whom the page's Content-Security-Policy doesn't concern: nothing is loosened for it.
    page.evaluate(_axe())
    found: list[dict[str, Any]] = page.evaluate(
        "async () => (await axe.run(document, { resultTypes: ['violations'] })).violations"
    )
    return [
        f"{page.url}: {rule['id']} ({rule['impact']}): {node['target'][0]}: {node['failureSummary']}"
        for rule in found
        for node in rule["nodes"]
    ]


@functools.cache
def _axe() -> str:
    return (resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
