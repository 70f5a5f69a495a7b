"""Django's PostgreSQL backend with a limit to each wait for an answer (`ENGINE` in settings/database.py).

A frozen server, or one whose disk stalls, cannot enforce `statement_timeout`. Its kernel still acknowledges
what it receives, so neither keep-alives nor `tcp_user_timeout` notice. Without a limit on this side, a thread
waits as long as the server is frozen.
"""

from __future__ import annotations

seconds: float | None = None
"""How long this process waits for one answer. None: without a limit, for migrations, imports and beat's jobs,
for which nobody waits."""


def answer_within(limit: float) -> None:
    """From now on, each wait of this process for an answer ends after `limit` seconds.

    The connection is then closed and OperationalError raised. Whether the statement was executed is unknown;
    the server ends it by the role's `statement_timeout`, which should be lower.
    """
    global seconds
    seconds = limit
