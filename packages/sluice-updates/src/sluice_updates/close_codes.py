"""Close codes. PROTOCOL.md describes what a client does after each."""

from __future__ import annotations

from typing import Final

INTERNAL_ERROR: Final = 1011
RESTART: Final = 1012
TRY_LATER: Final = 1013
BAD_REQUEST: Final = 4000
NOT_SIGNED_IN: Final = 4001
NOTHING_ALLOWED: Final = 4003
TOO_SLOW: Final = 4008
SESSION_ENDED: Final = 4009
HISTORY_REWRITTEN: Final = 4010
TOO_MANY: Final = 4013
