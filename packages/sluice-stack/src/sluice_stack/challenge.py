"""How the doctor recognises the responses of a project that has nothing of the stack in its pages.

The doctor sends a random text in ASKED. The site's Django sends a signature of it in SIGNED, which only a
process with the site's key can make.
"""

from __future__ import annotations

import secrets
from typing import Final

from django.utils.crypto import constant_time_compare, salted_hmac

ASKED: Final = "X-Sluice-Challenge"
SIGNED: Final = "X-Sluice-Signature"
# This process's.
OURS: Final = secrets.token_hex(16)
_LONGEST: Final = 64


def signature(challenge: str) -> str:
    return salted_hmac("sluice_stack.challenge", challenge[:_LONGEST]).hexdigest()


def is_signed(value: str) -> bool:
    """Whether the value is the signature of this process's challenge."""
    return bool(value) and constant_time_compare(value, signature(OURS))
