"""Ways to be signed in that other sites have."""

from __future__ import annotations


class OnlyRefuses:
    """Put first, it has a say in each login, and no users: it has no get_user()."""

    def authenticate(self, request: object, **credentials: object) -> None:
        return None
