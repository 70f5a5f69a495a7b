"""Django's PostgreSQL with an end to each wait for an answer (the ENGINE of settings/database.py).

A server that is paused, or whose disk stalls, honours no `statement_timeout`; and its kernel still
acknowledges what it is sent, so that neither keep-alives nor `tcp_user_timeout` notice. Without an end on
this side a thread would wait as long as it lasts.
"""

from __future__ import annotations

seconds: float | None = None
"""How long this process waits for one answer. None: as long as it takes, for migrations, imports and beat's
jobs, which keep nobody waiting."""


def answer_within(limit: float) -> None:
    """From now on each wait of this process for an answer ends after `limit` seconds: the connection is
    closed, and OperationalError raised. What became of the statement isn't known then; the server ends it
    by the role's `statement_timeout`, which should be lower.
    """
    global seconds
    seconds = limit
