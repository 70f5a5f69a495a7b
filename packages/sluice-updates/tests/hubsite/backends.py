"""Authentication backends like those of other sites."""

from __future__ import annotations


class OnlyRefuses:
    """Comes first and may refuse a login. It has no users, so it has no get_user()."""

    def authenticate(self, request: object, **credentials: object) -> None:
        return None
