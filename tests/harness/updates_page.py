"""A page that runs updates.js and logs every callback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playwright.sync_api import Page

from .client.ledger import Arrived, Connected, Hello, Ledger
from .client.positions import Position
from .waiting import wait_until

# The script in the page. harness.tabs runs it too.
START = """
async ([module, options]) => {
  const { connect } = await import(module);
  const log = (window.log = []);
  const updates = (window.updates = connect(options));
  const note = (kind, what = {}) => log.push({ kind, at: Date.now(), ...what });
  updates.on("*", (payload, update) => note("update", { update }));
  updates.addEventListener("state", () => note("state", { state: updates.state }));
  updates.addEventListener("lost", ({ detail }) => note("lost", detail));
  updates.addEventListener("restored", ({ detail }) => note("restored", detail));
  updates.addEventListener("diagnosis", () => note("diagnosis", { diagnosis: updates.diagnosis }));
  updates.addEventListener("connection", ({ detail }) => note("connection", detail));
}
"""


class UpdatesPage:
    """updates.js in `page`, which already shows a page of the site.

    `module` is the script's address; `options` are those of connect().
    """

    def __init__(self, page: Page, module: str, **options: Any) -> None:
        self.page = page
        self.options = options
        page.evaluate(START, [module, options])

    @property
    def state(self) -> str:
        return str(self.page.evaluate("updates.state"))

    @property
    def transport(self) -> str | None:
        found: str | None = self.page.evaluate("updates.transport")
        return found

    @property
    def diagnosis(self) -> dict[str, str] | None:
        found: dict[str, str] | None = self.page.evaluate("updates.diagnosis")
        return found

    @property
    def positions(self) -> dict[str, str]:
        return dict(self.page.evaluate("updates.positions"))

    def log(self, kind: str) -> list[dict[str, Any]]:
        """Log entries of one kind: update, state, lost, restored, diagnosis, connection. `at` is in
        ms.
        """
        found: list[dict[str, Any]] = self.page.evaluate(
            "(wanted) => log.filter(({ kind }) => kind === wanted)", kind
        )
        return found

    @property
    def arrived(self) -> int:
        """Number of updates that the page received."""
        return int(self.page.evaluate("log.filter(({ kind }) => kind === 'update').length"))

    @property
    def states(self) -> list[str]:
        """All states after the first, in order."""
        return [entry["state"] for entry in self.log("state")]

    def connection(self, what: str) -> list[dict[str, Any]]:
        """Connection events of one kind: opening (except the first), hello, ended."""
        return [entry for entry in self.log("connection") if entry["what"] == what]

    @property
    def ended(self) -> list[tuple[str, int]]:
        """The transport and code of each ended connection."""
        return [(entry["transport"], entry["code"]) for entry in self.connection("ended")]

    @property
    def numbers(self) -> list[int]:
        """The numbers in the payloads of all updates, in order."""
        return [entry["update"]["payload"]["number"] for entry in self.log("update")]

    def wait_for(self, state: str, deadline: float = 10, *, transport: str | None = None) -> UpdatesPage:
        """Wait for this state, by this transport if one is given."""
        wait_until(
            lambda: self.state == state and transport in (None, self.transport),
            deadline,
            f"{state} by {transport or 'any transport'}; it is {self.state} by {self.transport}",
        )
        return self

    def pass_time(self, seconds: float) -> None:
        """Put the page's clock forward, if the test controls it: timers that are due by then fire now.

        The page's timeouts for a pending response advance as well.
        """
        self.page.clock.fast_forward(round(seconds * 1000))

    def passing(self, what: str) -> list[dict[str, Any]]:
        """Let one second of the page's own time pass, and return the connection events of one kind so far."""
        self.pass_time(1)
        return self.connection(what)

    def wait_for_numbers(self, last: int, deadline: float = 10) -> None:
        """Wait for update `last`, then assert that the page received each update up to it once and in
        order.
        """
        wait_until(lambda: self.numbers[-1:] >= [last], deadline, f"update {last}")
        assert self.numbers == list(range(self.numbers[0], last + 1))

    def ledger(self, name: str) -> Ledger:
        """What the page received, for the judge. All updates are on one connection, so that the judge
        sees every duplicate.
        """
        since = {stream: Position.parse(text) for stream, text in self.options.get("positions", {}).items()}
        ledger = Ledger(name)
        ledger.write(Connected("page", since))
        ledger.write(Hello(dict(since), dict.fromkeys(since, True), frozenset()))
        known: set[str] = set(since)
        for entry in self.page.evaluate("log"):
            if entry["kind"] == "update":
                update = entry["update"]
                position = Position.parse(update["position"])
                ledger.write(Arrived(update["stream"], position, update["event"], update["payload"]))
            elif entry["kind"] == "connection" and entry["what"] == "hello":
                _write_hello(ledger, entry["streams"], known, since)
        return ledger


def _write_hello(
    ledger: Ledger, states: Mapping[str, Mapping[str, Any]], known: set[str], since: Mapping[str, Position]
) -> None:
    """Write a hello for streams that are new, and for streams that start again after a loss."""
    for stream, state in states.items():
        if "head" not in state or (stream in known and state.get("recovered") is not False):
            continue
        head = Position.parse(state["head"])
        lost = False if stream in known and stream in since else None
        ledger.write(Hello({stream: head}, {stream: lost}, frozenset()))
        known.add(stream)
