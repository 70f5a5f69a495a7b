"""Django's PostgreSQL backend with a time limit for each response (`ENGINE` in settings/database.py).

A frozen server, or one whose disk stalls, cannot enforce `statement_timeout`. Its kernel still acknowledges
packets, so keep-alives and `tcp_user_timeout` don't detect it. Without a limit on this side, a thread would
wait for as long as the server is frozen.
"""

from __future__ import annotations

seconds: float | None = None
"""The limit of this process for one response. None: no limit, for migrations, imports and beat's jobs."""


def answer_within(limit: float) -> None:
    """Set this process's time limit for each response of the database, in seconds.

    After it, the connection is closed and OperationalError is raised. The statement may or may not have been
    executed. The server ends it after the role's `statement_timeout`, which should be lower.
    """
    global seconds
    seconds = limit
