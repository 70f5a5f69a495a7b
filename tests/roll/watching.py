"""Activity during a roll, and its results for clients and containers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from harness.checker import Checker
from harness.client.ledger import Ended, Hello
from harness.client.page import Page
from harness.probe import Probe
from harness.stack import SERVICES, Stack
from harness.waiting import wait_until


def containers(stack: Stack) -> dict[str, set[str]]:
    """The ids of each service's containers. Asserts that all are healthy."""
    found = {name: stack.service(name).replicas for name in SERVICES}
    assert all(replica.healthy for replicas in found.values() for replica in replicas)
    return {name: {str(replica.container.id) for replica in replicas} for name, replicas in found.items()}


def replaced(before: dict[str, set[str]], after: dict[str, set[str]]) -> set[str]:
    """The services with new containers: as many as before, and none of the old ones."""
    changed = {name for name in before if before[name] != after[name]}
    for name in changed:
        assert len(before[name]) == len(after[name]) and not before[name] & after[name], name
    return changed


def busy(checker: Checker) -> list[Page]:
    """Start clients of two users on each transport and two writers, and wait for updates."""
    clients = checker.clients("alice", "bob")
    checker.writer("alice", to=["bob", "alice"], rate=10)
    checker.writer("bob", to=["alice", "bob"], rate=10)
    wait_until(lambda: checker.arrived() >= 60, 30, "updates on their way")
    return clients


def go_on(checker: Checker) -> None:
    """Wait until 200 more updates have arrived."""
    seen = checker.arrived()
    wait_until(lambda: checker.arrived() >= seen + 200, 60, "updates afterwards")


def pages(stack: Stack) -> Probe:
    """A user who opens a page twenty times a second."""
    browser = stack.browser("carol")
    return Probe(lambda: browser.get("/messages/", headers={"Connection": "close"}))


def sockets(clients: Iterable[Page]) -> list[Page]:
    return [page for page in clients if page.transport != "polling"]


def codes(page: Page) -> list[int]:
    """The close codes of its connections."""
    return [entry.code for entry in page.ledger.entries if isinstance(entry, Ended)]


def away(page: Page) -> float:
    """Seconds between the end of its first connection and the next hello."""
    entries = page.ledger.entries
    end = next(entry for entry in entries if isinstance(entry, Ended))
    return next(entry.at for entry in entries if isinstance(entry, Hello) and entry.at > end.at) - end.at


def failed_posts(counts: Counter[str]) -> dict[str, int]:
    return {
        what: n for what, n in counts.items() if what.startswith("POSTs") and what != "POSTs answered 201"
    }
