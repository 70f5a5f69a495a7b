"""Who may read the streams of the sample site (SLUICE_UPDATES_MAY_READ)."""

from __future__ import annotations

from typing import Any

from sluice_updates import rights
from volumes.progress import crops_stream


def test_only_their_owner_follows_crops(ada: Any, bob: Any) -> None:
    stream = crops_stream(ada.pk)
    assert rights.allowed(ada, [stream]) == {stream}
    assert rights.allowed(bob, [stream]) == set()
