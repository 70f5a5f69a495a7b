"""An event stream of a page, as a browser follows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.site import TIMEOUT, Browser


@contextmanager
def events(browser: Browser, stream: str = "all") -> Iterator[Iterator[dict[str, Any]]]:
    """The frames after the hello, while the stream is open."""
    url = f"{browser.url}/channels/updates/sse?streams={stream}"
    with browser.http.get(url, timeout=TIMEOUT, stream=True) as answer:
        assert answer.status_code == 200, answer.text[:400]
        lines = answer.iter_lines(chunk_size=1, decode_unicode=True)
        frames = (json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))
        hello = next(frames)
        assert hello["event"] == "hello", hello
        yield frames
