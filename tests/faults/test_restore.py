"""The commands of docs/how-to/restore.md, run unchanged on a stack with clients.

Clients that saw the discarded updates are told. Other clients are not.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from faults.containers import Crowd
from faults.outcome import Outcome
from harness.client.ledger import Connected, Ended, Hello
from harness.client.page import Page
from harness.compose import SOURCE
from harness.stack import Stack
from harness.waiting import wait_until

PAGE = (SOURCE / "docs/how-to/restore.md").read_text()
HISTORY_REWRITTEN = 4010
TOLD = "Pages that saw a lost update reload their state; no other page does."
AFTER_RESTART = 10.0  # seconds within which a client that connects after a restore has its updates
RESTART = 25.0  # seconds within which a client has reconnected after the fault's end

BURN = "DO $$BEGIN FOR i IN 1..5000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END$$"
FROM_ELSEWHERE = (
    "SELECT count(*) FROM sluice_updates_update WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())"
)


def run_block(stack: Stack, title: str) -> str:
    """Run the commands below that heading in the project's folder, as an operator does, and return their
    output.
    """
    found = re.search(rf"^## {re.escape(title)}\n(?:(?!## ).*\n)*?```bash\n([^`]*)```", PAGE, re.M)
    assert found, f"restore.md has no commands under {title!r}"
    done = subprocess.run(
        ["bash", "-e", "-u", "-o", "pipefail", "-c", found[1]],
        cwd=stack.folder,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "COMPOSE_PROJECT_NAME": stack.name},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{title}: status {done.returncode}\n{done.stdout[-5000:]}"
    return done.stdout


@dataclass
class Story:
    """Alice and Bob on each transport, and an earlier page of Alice's that left before the backup."""

    crowd: Crowd
    alice: list[Page]
    bob: list[Page]
    early: Page
    outcome: Outcome

    @classmethod
    def begin(cls, stack: Stack, outcome: Outcome) -> Story:
        crowd = Crowd(stack, ["alice", "bob"])
        alice, bob = crowd.clients("alice"), crowd.clients("bob")
        early = crowd.client("alice")
        story = cls(crowd, alice, bob, early, outcome)
        story.publish(alice=5, bob=5)
        crowd.call(early, "leave")
        return story

    def publish(self, **counts: int) -> None:
        """Commit updates to users' own streams, and wait for their arrival."""
        for name, count in counts.items():
            stream = f"user:{self.crowd.ids[name]}"
            self.crowd.stack.manage(
                "from sluice_updates import publish\n"
                f"for number in range({count}): publish({stream!r}, 'told', {{'number': number}})"
            )
        wait_until(self.crowd.caught_up, RESTART, "all of it arrived")

    def end(self) -> None:
        """After the restore: the earlier page returns, updates reach all, and Alice's pages were told."""
        self.crowd.online()
        begin = time.monotonic()
        stream = f"user:{self.crowd.ids['alice']}"
        returned = self.crowd.client("alice", since=self.early.positions, deadline=AFTER_RESTART)
        self.outcome.measured("a new client", time.monotonic() - begin)
        self.publish(alice=8, bob=2)
        told = {page.name for page in self.alice}
        report = self.crowd.verdict(
            deadline=AFTER_RESTART, provoked=lambda ledger, name: ledger.client in told and name == stream
        ).check()
        assert report.counts["not recovered"] == len(self.alice)
        assert report.counts["of a past that was taken back"] >= 5 * len(self.alice)
        for page in self.alice:
            assert lost(page) == [stream], page.name
        assert lost(returned) == [] and returned.ledger.arrived


def lost(page: Page) -> list[str]:
    """The streams that hello reported as not recovered to this client."""
    return [
        stream
        for entry in page.ledger.entries
        if isinstance(entry, Hello)
        for stream, recovered in entry.recovered.items()
        if recovered is False
    ]


@pytest.fixture
def story(fresh: Stack, outcome: Outcome) -> Iterator[Story]:
    """A new story for each test."""
    story = Story.begin(fresh, outcome)
    yield story
    story.crowd.close()


def test_restore_by_files(fresh: Stack, story: Story) -> None:
    story.outcome.describe("PostgreSQL's files restored to an earlier state", TOLD)
    run_block(fresh, "Back up by files")
    story.crowd.online()
    story.publish(alice=5)
    run_block(fresh, "Restore by files")
    story.end()
    for page in story.alice + story.bob:
        if page.transport != "polling":  # Daphne ran all the time
            closes = [entry.code for entry in page.ledger.entries if isinstance(entry, Ended)]
            assert closes == [HISTORY_REWRITTEN] * (page in story.alice), page.name
            assert len([e for e in page.ledger.entries if isinstance(e, Connected)]) == len(closes) + 1


def test_restore_by_data(fresh: Stack, story: Story) -> None:
    story.outcome.describe("PostgreSQL's data restored to an earlier state", TOLD)
    run_block(fresh, "Back up by data")
    story.publish(alice=5)
    assert "reset 0 transaction ids" in run_block(fresh, "Restore by data")
    story.end()


@pytest.mark.timeout(600, func_only=True)
def test_restore_on_another_machine(fresh: Stack, story: Story) -> None:
    """The old machine's transaction ids are in the new one's future. All its volumes are empty."""
    story.outcome.describe("PostgreSQL's data restored on another machine", TOLD)
    fresh.psql(BURN)
    story.publish(alice=1, bob=1)
    secrets = fresh.secrets()
    run_block(fresh, "Back up by data")
    story.publish(alice=5)
    fresh.compose.run("down", "--volumes")
    run_block(fresh, "On another machine")
    assert re.search("reset [1-9][0-9]* transaction ids", run_block(fresh, "Restore by data"))
    assert fresh.psql(FROM_ELSEWHERE) == [["0"]]
    assert fresh.secrets() == secrets
    story.end()
