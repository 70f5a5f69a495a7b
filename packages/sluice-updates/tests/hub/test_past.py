"""A rewritten history (a restored database) is detected and reported."""

from __future__ import annotations

from updates_lab.site import Events, Person, Served, Site


def test_an_offset_that_comes_again_with_another_tag_closes_with_4010(
    served: Served, site: Site, person: Person
) -> None:
    other = site.person()
    site.send(person.stream, 1)
    before = site.heads(person.stream)[person.stream]
    site.send(person.stream, 2)
    after = site.heads(person.stream)[person.stream]
    with (
        served.connect(person) as socket,
        Events(served, person) as events,
        served.connect(other) as neighbour,
    ):
        socket.hello(), events.next(), neighbour.hello()
        site.restore(person.stream, before)
        site.send(person.stream, 3)
        assert socket.close_code() == 4010
        assert events.next() == {"event": "close", "data": {"code": 4010}}
        site.send(other.stream, 1)
        assert neighbour.numbers(1) == [1]
    with served.connect(person, f"since={person.stream}/{after}") as socket:
        assert socket.hello()[person.stream]["recovered"] is False
    with served.connect(person, f"since={person.stream}/{before}") as socket:
        assert socket.hello()[person.stream]["recovered"] is True
        assert socket.numbers(1) == [3]


def test_a_head_that_went_back_closes_with_4010(served: Served, site: Site, person: Person) -> None:
    site.send(person.stream, 1)
    before = site.heads(person.stream)[person.stream]
    site.send(person.stream, 2)
    with served.connect(person) as socket:
        socket.hello()
        site.restore(person.stream, before)
        assert socket.close_code() == 4010


def test_trimmed_history_is_not_skipped(served: Served, site: Site, person: Person) -> None:
    site.send(person.stream, 1)
    one = site.heads(person.stream)[person.stream]
    site.send(person.stream, 2, 3)
    site.trim(person.stream, 2)
    with served.connect(person, f"since={person.stream}/{one}") as socket:
        assert socket.hello()[person.stream]["recovered"] is False
    with served.connect(person, f"since={person.stream}/0-0") as socket:
        assert socket.hello()[person.stream]["recovered"] is False


def test_memory_does_not_go_back_beyond_what_was_trimmed(served: Served, site: Site, person: Person) -> None:
    with served.connect(person) as here:
        here.hello()
        positions = []
        for number in (1, 2, 3):
            site.send(person.stream, number)
            positions.append(site.heads(person.stream)[person.stream])
        assert here.numbers(3) == [1, 2, 3]
        site.trim(person.stream, 2)
        for position, recovered in zip(positions, (False, True, True), strict=True):
            with served.connect(person, f"since={person.stream}/{position}") as socket:
                assert socket.hello()[person.stream]["recovered"] is recovered, position
