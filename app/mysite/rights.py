"""Who may read a stream of updates, for all apps of this site.

The setting SLUICE_UPDATES_MAY_READ names `may_read`. An app with a stream of its own needs a line here, or
nobody may read the stream.
"""

from __future__ import annotations

from sluice_updates.rights import User, default_may_read
from volumes.progress import crops_stream


def may_read(user: User, stream: str) -> bool:
    """Whether a signed-in user may read the stream: a default one, or the progress of the user's crops."""
    return default_may_read(user, stream) or stream == crops_stream(user.pk)
