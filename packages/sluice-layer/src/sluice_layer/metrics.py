"""What a Channels worker counts, by channel: plain numbers, changed only on its event loop."""

from __future__ import annotations

from collections import Counter, defaultdict

handled: Counter[str] = Counter()  # messages; those that failed too
failed: Counter[str] = Counter()  # messages whose handler raised
seconds: defaultdict[str, float] = defaultdict(float)  # spent on messages
