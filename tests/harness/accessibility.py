"""Accessibility mistakes that axe-core finds in a page.

https://github.com/dequelabs/axe-core/blob/develop/doc/rule-descriptions.md
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

from playwright.sync_api import Page


def mistakes(page: Page) -> list[str]:
    """Return each violation with the page's path, the rule, its impact, and the elements. Best practices
    count too.
    """
    # evaluate() goes through the debugger, so the page's Content-Security-Policy can stay as strict as it is.
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
