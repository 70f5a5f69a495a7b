"""Faults around the commit, the moment that decides about an update."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

from faults.outcome import Outcome
from faults.trial import LIVE, POLL, RESTARTED, Trial
from harness.baseline import Baseline
from harness.faults import KILL, PAUSE, TERM
from harness.stack import Stack
from harness.waiting import wait_until

OPEN = 30  # seconds that a transaction stays open
PYTHON = "/opt/sluice/venv/bin/python"
MANAGE = "/opt/sluice/app/manage.py"

# It commits when the test notifies it. A connection of its own listens: in a transaction nothing arrives.
_SITS = """
import time
import psycopg
from django.db import connection, transaction
from sluice_updates import publish
with transaction.atomic():
    publish("all", "sat-on", {{}})
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as listening:
        listening.execute("LISTEN commit_now")
        connection.cursor().execute("SET LOCAL application_name = 'sitting'")
        assert list(listening.notifies(timeout={deadline}, stop_after=1)), "nobody ended the transaction"
print("committed at", time.time())
"""
_END = "from django.db import connection; connection.cursor().execute('NOTIFY commit_now')"
_ROLLED_BACK = """
from django.db import transaction
from sluice_updates import publish
for number in range(5):
    with transaction.atomic():
        publish("all", "rolled-back", {"number": number})
        transaction.set_rollback(True)
"""
_KILLED = """
import os, signal
from django.db import transaction
from sluice_updates import publish
with transaction.atomic():
    publish("all", "rolled-back", {"number": 0})
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_transaction_that_stays_open_holds_nothing_up_and_is_not_passed_over(
    standing: Stack, baseline: Baseline, outcome: Outcome
) -> None:
    """RabbitMQ is stopped, so this tests that the poll does not skip the open transaction's update."""
    outcome.describe(
        f"a transaction that published stays open for {OPEN} s while others commit before and after it, "
        "with RabbitMQ stopped",
        "None: its update arrives when it commits, and the others are not delayed.",
    )
    with Trial(standing, outcome) as trial, ThreadPoolExecutor(1) as pool:
        with TERM(standing.service("rabbitmq")):
            sitting = pool.submit(standing.manage, _SITS.format(deadline=4 * OPEN), "celery")
            wait_until(lambda: _is_sitting(standing), OPEN, "the open transaction")
            trial.hold(OPEN)
            standing.manage(_END)
            said = re.search(r"^committed at ([\d.]+)$", sitting.result(2 * OPEN), re.M)
            assert said
            committed = float(said[1])
            wait_until(
                lambda: _arrived(trial, "sat-on") == len(trial.staying), LIVE + POLL + 10, "its update"
            )
        trial.over()
    trial.closes(baseline)
    trial.answered()
    trial.live()
    late = {
        page.transport: update.at + time.time() - time.monotonic() - committed
        for page in trial.staying
        for update in page.ledger.events("sat-on")
    }
    outcome.measured("from its commit to arrival", max(late["websocket"], late["sse"]))
    assert max(late["websocket"], late["sse"]) <= LIVE and late["polling"] <= LIVE + POLL, late


def test_wsgi_killed_between_commit_and_wake_up(
    standing: Stack, baseline: Baseline, outcome: Outcome
) -> None:
    """The broker is frozen, so Gunicorn still holds the wake-ups when it is killed."""
    outcome.describe(
        "wsgi killed after commits, before it sent their wake-ups",
        "Pages fail until it is back; committed updates arrive within two seconds.",
    )
    with Trial(standing, outcome) as trial:
        with PAUSE(standing.service("rabbitmq")):
            trial.hold(3)
            with KILL(standing.service("wsgi")):
                trial.hold(3)
            trial.over(polling=RESTARTED)
        trial.flows()
    trial.closes(baseline)


def test_what_is_rolled_back_reaches_nobody(standing: Stack, baseline: Baseline, outcome: Outcome) -> None:
    outcome.describe(
        "a transaction rolled back after publish, by the program or because it was killed",
        "None: no client gets the update.",
    )
    with Trial(standing, outcome) as trial:
        standing.manage(_ROLLED_BACK)
        died = standing.service("wsgi").exec(PYTHON, MANAGE, "shell", "--verbosity", "0", "-c", _KILLED)
        assert died.code == 137, died
        trial.over()
    trial.closes(baseline)
    trial.answered()
    assert _arrived(trial, "rolled-back") == 0
    assert standing.psql("SELECT count(*) FROM sluice_updates_update WHERE event = 'rolled-back'") == [["0"]]


def _is_sitting(stack: Stack) -> bool:
    query = "SELECT state FROM pg_stat_activity WHERE application_name = 'sitting'"
    return stack.psql(query) == [["idle in transaction"]]


def _arrived(trial: Trial, event: str) -> int:
    return sum(len(page.ledger.events(event)) for page in trial.staying)
