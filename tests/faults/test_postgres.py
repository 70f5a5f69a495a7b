"""PostgreSQL has no free connections: sockets stay open, and all works again when some are free."""

from __future__ import annotations

import threading
from types import TracebackType

import psycopg

from faults.outcome import Outcome
from faults.trial import Trial
from harness.baseline import Baseline
from harness.stack import Stack
from harness.waiting import wait_until

ROLES = ("wsgi", "asgi", "celery", "worker", "beat")
_END_THEIRS = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE usename = ANY (string_to_array(:'roles', ',')) AND application_name <> 'greedy'
"""


class Greedy:
    """Takes every connection of the application's roles as soon as it is free, and ends those that the
    application holds.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._stop = threading.Event()
        self._held: list[psycopg.Connection] = []
        self._full = {role: threading.Event() for role in ROLES}

    def __enter__(self) -> Greedy:
        address = self.stack.service("postgres")[0].addresses["data"]
        secrets = self.stack.secrets()
        self._threads = [
            threading.Thread(target=self._take, args=(role, address, secrets[f"db_{role}"]), daemon=True)
            for role in ROLES
        ]
        for thread in self._threads:
            thread.start()
        try:
            for role, full in self._full.items():
                assert full.wait(20), f"{role} can still connect"
            wait_until(self._end_theirs, 20, "all of the application's connections ended", every=0.5)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)
        for connection in self._held:
            connection.close()

    def _end_theirs(self) -> bool:
        ((ended,),) = self.stack.psql(_END_THEIRS, parameters={"roles": ",".join(ROLES)})
        return ended == "0"

    def _take(self, role: str, address: str, password: str) -> None:
        while not self._stop.is_set():
            try:
                self._held.append(
                    psycopg.connect(
                        host=address,
                        dbname="sluice",
                        user=role,
                        password=password,
                        application_name="greedy",
                        connect_timeout=5,
                        autocommit=True,
                    )
                )
            except psycopg.OperationalError as error:
                if "too many" in str(error):
                    self._full[role].set()
                self._stop.wait(0.02)


def test_no_connections_left(standing: Stack, baseline: Baseline, outcome: Outcome) -> None:
    outcome.describe(
        "PostgreSQL out of connections for every role, for 10 s",
        "Sockets stay; pages and POSTs fail, and nothing is published.",
    )
    with Trial(standing, outcome) as trial:
        with Greedy(standing):
            failed = sum(writer.answers[503] for writer in trial.writers)
            trial.hold(10)
            assert sum(writer.answers[503] for writer in trial.writers) > failed, "POSTs still succeed"
        trial.over()
    trial.closes(baseline)
