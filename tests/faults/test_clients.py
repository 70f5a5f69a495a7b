"""Clients that misbehave, or are cut off: they affect no other client, and lose nothing themselves."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from faults.containers import Crowd, Writers
from faults.daphne import closes, connections
from faults.outcome import Outcome
from faults.proxies import Proxy
from faults.trial import LIVE, RESTARTED, STAYED, Trial
from faults.vanishing import Machine
from harness import raw
from harness.baseline import Baseline
from harness.checker import Checker
from harness.client.ledger import Connected, Ended, Hello
from harness.client.page import TRANSPORTS, Page
from harness.faults import CRASH
from harness.stack import Stack
from harness.waiting import wait_until

TOO_SLOW, SESSION_ENDED, NOT_SIGNED_IN = 4008, 4009, 4001
GONE = 120.0  # seconds after which the server has dropped a vanished client (PROTOCOL: Rights)
CUT_OFF = 45.0  # seconds until a client that doesn't read is cut, once too many updates wait for it
REVOKED = 5.0  # seconds after which nothing more is delivered
NO_HELLO = 5.0  # seconds after which a client without hello assumes that frames are swallowed

LARGE, COUNT = 30_000, 700  # bytes per update and number of updates: more than the kernel's buffers hold
_LARGE = """
from sluice_updates import publish
for number in range({count}):
    publish("user:{user}", "large", {{"number": number, "text": "x" * {size}}})
"""


@pytest.fixture
def slow_readers(fresh: Stack) -> Iterator[list[socket.socket]]:
    """Two sockets of carol's, directly to nginx. The test never reads from one, and reads a byte a second
    from the other.

    The published port would add one of the engine's programs, whose buffers hold several MB each.
    """
    headers = raw.UPGRADE | {"Origin": fresh.origin, "Host": f"localhost:{fresh.port}"}
    headers["Cookie"] = fresh.browser("carol").cookies
    lines = ["GET /channels/updates/ HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    stop = threading.Event()
    with contextlib.ExitStack() as wires:
        opened = []
        for _ in range(2):
            wire = wires.enter_context(socket.socket())
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            wire.connect((fresh.service("nginx")[0].addresses["front"], 8080))
            wire.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
            assert raw.read_answer(wire).status == 101
            opened.append(wire)

        def sip() -> None:
            with contextlib.suppress(OSError):
                while not stop.wait(1):
                    opened[1].recv(1)

        threading.Thread(target=sip, daemon=True).start()
        yield opened
        stop.set()


def test_clients_that_read_too_slowly_are_cut_and_delay_nobody(
    fresh: Stack, outcome: Outcome, slow_readers: list[socket.socket]
) -> None:
    outcome.describe(
        f"a client that never reads, and one that reads a byte a second, of {COUNT} updates of 30 kB each",
        "Both are closed with 4008. Other clients are not affected, not even the same person's other page.",
    )
    with Trial(fresh, outcome) as trial:
        carol = trial.client("carol")
        began = time.monotonic()
        user = fresh.psql("SELECT id FROM auth_user WHERE username = 'carol'")[0][0]
        fresh.manage(_LARGE.format(count=COUNT, user=user, size=LARGE), "celery")
        trial.held = (began, time.monotonic())
        wait_until(lambda: closes(fresh, TOO_SLOW) == len(slow_readers), CUT_OFF, "both cut", every=0.5)
        outcome.measured("until both were cut", time.monotonic() - began)
        wait_until(lambda: len(carol.ledger.events("large")) == COUNT, 60, "carol's other page")
    trial.verdict().check()
    trial.answered()
    trial.live()


def test_a_machine_that_vanishes_is_forgotten(standing: Stack, baseline: Baseline, outcome: Outcome) -> None:
    outcome.describe(
        "a client's machine vanishes: no FIN, no acknowledgement", "Other clients are not affected."
    )
    with Trial(standing, outcome, passing=False) as trial, Machine(standing, "carol") as machine:
        others = len([page for page in trial.staying if page.transport != "polling"])
        assert connections(standing) == others + 2
        machine.vanish()
        began = time.monotonic()
        wait_until(lambda: connections(standing) == others, GONE, "both of hers gone", every=2)
        outcome.measured("until the server dropped it", time.monotonic() - began)
        trial.held = (began, time.monotonic())
    trial.closes(baseline)
    trial.answered()
    trial.live()


def test_fifty_changes_of_transport(standing: Stack, baseline: Baseline, outcome: Outcome) -> None:
    outcome.describe("fifty changes of transport, with updates all the time", "None.")
    with Trial(standing, outcome) as trial:
        page = trial.client("alice")
        for number in range(1, 51):
            trial.call(page, "switch", TRANSPORTS[number % len(TRANSPORTS)])
            seen = len(page.ledger.arrived)
            wait_until(lambda: len(page.ledger.arrived) >= seen + 2, 10, "updates by the new one")  # noqa: B023
        trial.over()
    trial.closes(baseline)
    trial.answered()
    used = [entry.transport for entry in page.ledger.entries if isinstance(entry, Connected)]
    assert len(used) > 50 and set(used) == set(TRANSPORTS)


@pytest.mark.parametrize("refuses", [True, False], ids=["refuses-upgrades", "swallows-frames"])
def test_behind_a_proxy_that_knows_no_sockets(
    standing: Stack, baseline: Baseline, outcome: Outcome, refuses: bool
) -> None:
    outcome.describe(
        f"a proxy in front that {'refuses upgrades' if refuses else 'passes upgrades but drops frames'}",
        "The page switches to server-sent events."
        if refuses
        else "No updates for five seconds; then the page switches to server-sent events.",
    )
    with Proxy(standing.port, refuses=refuses) as proxy, Trial(standing, outcome) as trial:
        began = time.monotonic()
        page = trial.newcomer("bob", through=proxy.address, since=trial.staying[-1].positions)
        wait_until(lambda: _ended(page), NO_HELLO + 1, "the end of a socket without hello")
        assert not any(isinstance(entry, Hello) for entry in page.ledger.entries) and proxy.upgrades
        trial.call(page, "switch", "sse")
        wait_until(lambda: page.live and page.ledger.arrived, LIVE, "updates by server-sent events")
        outcome.measured("until updates arrived", time.monotonic() - began)
        trial.over()
    trial.closes(baseline)
    trial.answered()


def test_rights_withdrawn_while_updates_flow(standing: Stack, baseline: Baseline, outcome: Outcome) -> None:
    outcome.describe(
        "a user deactivated while updates flow", "Their pages are signed out within five seconds."
    )
    with Trial(standing, outcome) as trial:
        pages = trial.clients("dora")
        trial.writer("alice", to="dora", rate=10)
        wait_until(lambda: all(len(page.ledger.arrived) >= 5 for page in pages), 20, "updates to dora")
        _set_active(standing, "dora", active=False)
        revoked = time.monotonic()
        for page in pages:
            code = NOT_SIGNED_IN if page.transport == "polling" else SESSION_ENDED
            trial.sent_away(page, code, REVOKED)
        outcome.measured("until the last of them was signed out", time.monotonic() - revoked)
        trial.over()
    _set_active(standing, "dora", active=True)
    trial.closes(baseline)
    assert max(update.at for page in pages for update in page.ledger.arrived) <= revoked + REVOKED


def test_history_trimmed_past_a_clients_position(fresh: Stack, outcome: Outcome) -> None:
    outcome.describe(
        "history trimmed past a client's position",
        "That page is told that it missed updates, and reloads its state; no other page is affected.",
    )
    with Checker(fresh) as checker:
        staying = checker.clients("bob")
        early = checker.client("bob")
        checker.writer("alice", to="bob", rate=20)
        wait_until(lambda: len(early.ledger.arrived) >= 5, 20, "updates to bob")
        checker.call(early, "leave")
        wait_until(lambda: len(staying[0].ledger.arrived) >= 150, 60, "many more", every=0.01)
        late = dict(staying[0].positions)
        fresh.manage("from sluice_updates.trimming import trim; print(trim(max_per_stream=100))", "beat")
        returned = checker.client("bob", since=early.positions)
        recent = checker.client("bob", since=late)
        wait_until(lambda: len(returned.ledger.arrived) >= 20, 20, "updates after it")
    stream = next(name for name in early.positions if name.startswith("user:"))
    report = checker.verdict(
        provoked=lambda ledger, name: ledger.client == returned.name and name == stream
    ).check()
    assert report.counts["not recovered"] == 1 and recent.ledger.arrived


@pytest.mark.timeout(600, func_only=True)
def test_a_thousand_clients_cut_at_once(image_tag: str, outcome: Outcome) -> None:
    """All clients have one address, so nginx's limit per address is raised."""
    outcome.describe(
        "1,000 clients on two Daphnes, both killed at once",
        "No live updates until both are back; then no client has missed any.",
    )
    settings = {"CHANNELS_PER_ADDRESS_SECOND": "2000"}
    with Stack(image_tag, settings) as stack:
        stack.up("asgi", scale={"asgi": 2}, options=("--no-recreate", "--no-deps"))
        with Crowd(stack, [f"person-{number}" for number in range(50)]) as crowd:
            crowd.gather(1000, poll_every=10)
            writers = Writers(stack, ("wsgi",), list(crowd.ids.values()))
            writers.start(1500, pause=0.1)
            writers.wait_for(300, 120)
            with CRASH(stack.service("asgi")):
                pass
            ended = time.monotonic()
            sockets = [page for page in crowd.pages if page.transport != "polling"]
            wait_until(lambda: not any(page.live for page in sockets), 5, "all of them cut", every=0.01)
            back = STAYED + RESTARTED
            wait_until(lambda: all(page.live for page in sockets), back, "all of them back", every=0.05)
            outcome.measured("until the last client was back", time.monotonic() - ended)
            written = writers.finish(300)
        report = crowd.verdict(deadline=20).check()
        assert report.counts["clients"] == 1000 and written["committed"] >= 1500


def _ended(page: Page) -> bool:
    return any(isinstance(entry, Ended) for entry in page.ledger.entries)


def _set_active(stack: Stack, name: str, *, active: bool) -> None:
    stack.manage(
        "from django.contrib.auth import get_user_model as m;"
        f"u = m().objects.get(username={name!r}); u.is_active = {active}; u.save()"
    )
