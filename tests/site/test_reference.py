"""docs/reference/http-api.md lists all URLs, and no others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from django.urls import URLPattern, get_resolver

import mysite
from common import api, paging
from sluice_stack.health import views as health
from volumes.models import Crop

PAGE = Path(mysite.__file__).parent.parent.parent / "docs/reference/http-api.md"


def served(patterns: Any, before: str = "/") -> set[str]:
    found = set()
    for pattern in patterns:
        path = before + re.sub(r"<int:\w+_id>", "<id>", str(pattern.pattern))
        path = re.sub(r"<\w+:(\w+)>", r"<\1>", path)
        if isinstance(pattern, URLPattern):
            found.add(path)
        elif path == "/admin/":
            found.add(path)  # Django's own, in its own documentation
        else:
            found |= served(pattern.url_patterns, path)
    return found


def test_every_url_is_there_and_no_other() -> None:
    documented = set(re.findall(r"^\| `(/[^`]*)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert documented == served(get_resolver().url_patterns) | set(health.VIEWS)


def test_numbers_and_names_are_the_codes(settings: Any) -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert f"at most {api.MAX_BODY_BYTES:,} bytes" in text
    assert f"no deeper than {api.MAX_DEPTH}" in text
    assert f"in pages of {paging.SIZE}" in text
    assert f"{settings.CROP_MAX_OPEN_PER_USER} crops of this person" in text
    for state in Crop.State.values:
        assert f"`{state}`" in text
