"""The admission of handshakes: how many at a time, in which order, and what those hear who wait too long."""

from __future__ import annotations

import itertools

import pytest

from sluice_updates import limits
from sluice_updates.server.admission import Admission


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """Notes what it hears."""

    def __init__(self) -> None:
        self.admitted = self.told = self.cut = False
        self.retry: int | None = None

    def admit(self) -> None:
        self.admitted = True

    def refuse(self, milliseconds: int) -> None:
        self.retry = milliseconds

    def restart(self) -> None:
        self.told = True

    def abort(self) -> None:
        self.cut = True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def admission(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Admission:
    monkeypatch.setattr(limits, "HANDSHAKES_AT_ONCE", 2)
    monkeypatch.setattr(limits, "ADMISSIONS_WAITING", 5)
    return Admission(clock)


def arrive(admission: Admission, count: int) -> list[Client]:
    clients = [Client() for _ in range(count)]
    for client in clients:
        admission.arrive(client)
    return clients


def admitted(clients: list[Client]) -> list[int]:
    return [number for number, client in enumerate(clients) if client.admitted]


def test_some_are_in_progress_and_the_oldest_follows(admission: Admission) -> None:
    clients = arrive(admission, 4)
    assert admitted(clients) == [0, 1]
    admission.finish(clients[1])
    admission.finish(clients[1])
    assert admitted(clients) == [0, 1, 2]
    assert admission.waiting == 1


def test_a_client_that_is_gone_takes_no_turn(admission: Admission) -> None:
    clients = arrive(admission, 4)
    admission.leave(clients[2])
    admission.leave(clients[0])
    assert admitted(clients) == [0, 1, 3]


def test_those_who_have_waited_for_too_long_come_back_one_after_another(
    admission: Admission, clock: Clock
) -> None:
    clients = arrive(admission, 5)
    clock.now += limits.ADMISSION_SECONDS / 2
    admission.expire()
    late = arrive(admission, 1)
    assert [client.retry for client in clients] == [None] * 5
    clock.now += limits.ADMISSION_SECONDS / 2
    admission.expire()
    retries = [client.retry for client in clients[2:] if client.retry is not None]
    assert len(retries) == 3
    assert retries == sorted(set(retries)), "each has its own time"
    assert late[0].retry is None


def test_too_many_are_refused_at_once(admission: Admission) -> None:
    clients = arrive(admission, 8)
    assert [client.retry is not None for client in clients] == [False] * 7 + [True]


def test_a_handshake_that_ends_without_notice_frees_its_place(admission: Admission, clock: Clock) -> None:
    clients = arrive(admission, 3)
    clock.now += limits.HANDSHAKE_SECONDS
    admission.expire()
    assert admitted(clients) == [0, 1, 2]


def test_a_handshake_may_finish_while_it_begins(admission: Admission) -> None:
    class Refused(Client):
        def admit(self) -> None:
            super().admit()
            admission.finish(self)

    first = arrive(admission, 2)
    waiting = [Refused() for _ in range(5)]
    for client in waiting:
        admission.arrive(client)
    admission.finish(first[0])
    assert all(client.admitted for client in waiting)


def test_a_drain_admits_nobody_any_more(admission: Admission) -> None:
    clients = arrive(admission, 4)
    assert admission.drain() == clients[2:]
    admission.finish(clients[0])
    late = arrive(admission, 1)
    assert admitted([*clients, *late]) == [0, 1]
    assert late[0].told


def test_an_error_of_one_client_does_not_reach_another(admission: Admission) -> None:
    class Broken(Client):
        def admit(self) -> None:
            raise RuntimeError("told to fail")

    first = arrive(admission, 2)
    broken, following = Broken(), Client()
    admission.arrive(broken)
    admission.arrive(following)
    admission.finish(first[0])
    assert broken.cut
    assert following.admitted


def test_the_time_to_come_back_follows_the_pace(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that finishes 50 handshakes a second gives its places out at this pace."""
    monkeypatch.setattr(limits, "HANDSHAKES_AT_ONCE", 2)
    admission = Admission(clock)
    clients = arrive(admission, 900)
    for client in clients[:700]:
        clock.now += 0.01 if client is clients[0] else 0.02
        admission.finish(client)
    clock.now += limits.ADMISSION_SECONDS
    admission.expire()
    retries = [client.retry for client in clients[702:] if client.retry is not None]
    steps = [after - before for before, after in itertools.pairwise(retries)]
    assert 15 <= sorted(steps)[len(steps) // 2] <= 30
