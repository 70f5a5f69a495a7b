"""The sample site passes the system checks, and docs/reference/system-checks.md lists all of them."""

from __future__ import annotations

import re
from pathlib import Path

from sluice_updates.checks import consistency as checks_site

APP = Path(__file__).parents[2] / "app"


def test_the_site_itself_is_right() -> None:
    found = checks_site.check_layer() + checks_site.check_vhosts()
    assert found + checks_site.check_hosts() + checks_site.check_apps() == []


def test_the_documents_table_is_complete() -> None:
    page = APP.parent / "docs/reference/system-checks.md"
    documented = set(re.findall(r"^\| `([a-z_]+\.[EW]\d{3})` \|", page.read_text("utf-8"), re.MULTILINE))
    packages = APP.parent / "packages"
    sources = [
        *packages.glob("sluice-updates/src/sluice_updates/checks/*.py"),
        APP / "volumes/checks.py",
        packages / "sluice-layer/src/sluice_layer/apps.py",
    ]
    known = {name for source in sources for name in re.findall(r'id="([^"]+)"', source.read_text("utf-8"))}
    assert documented == known
