"""Authentication backends as other sites have them."""

from __future__ import annotations


class OnlyRefuses:
    """Placed first, it may refuse each login. It has no users, so it has no get_user()."""

    def authenticate(self, request: object, **credentials: object) -> None:
        return None
