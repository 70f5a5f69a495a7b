"""The project's tests, for `manage.py test`."""

from __future__ import annotations

from typing import Any

from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser, Group, User
from django.db import IntegrityError, connections, transaction
from django.test import TestCase, TransactionTestCase

from sluice_updates import history, identity, publish
from sluice_updates.asgi import application as updates_application
from sluice_updates.rights import rights_changed
from sluice_updates.streams import user_stream
from sluice_updates.testing import FakeClient, assert_not_published, assert_published, captured_updates
from sluice_updates.trimming import trim


class Undo(Exception):
    pass


def texts(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["payload"]["text"] for frame in frames]


class Shared:
    """What must hold in a TestCase and in a TransactionTestCase alike."""

    client: Any
    assertRaisesRegex: Any

    def setUp(self) -> None:
        self.bob = User.objects.create_user("bob")
        self.stream = user_stream(self.bob.pk)

    def send(self, text: str) -> None:
        response = self.client.post("/messages/", {"to": self.bob.pk, "text": text})
        assert response.status_code == 201

    def test_a_view_published(self) -> None:
        self.send("before")
        with captured_updates() as updates:
            self.send("hello")
        assert [str(update) for update in updates] == [f'new-message to {self.stream}: {{"text": "hello"}}']
        assert_published(self.stream, "new-message", {"text": "hello"}, count=1, among=updates)
        assert_published(self.stream, "new-message", count=2)
        assert_not_published("all")
        assert_not_published(self.stream, "other-event")

    def test_what_was_rolled_back_is_not_captured(self) -> None:
        with captured_updates() as updates:
            for key in ("once", "once"):
                publish("all", "e", {}, key=key)
            try:
                with transaction.atomic():
                    publish("all", "undone", {})
                    raise Undo
            except Undo:
                pass
        assert [(update.event, update.key) for update in updates] == [("e", "once")]
        assert_published("all", "e", key="once")

    def test_a_failed_assertion_lists_what_was_published(self) -> None:
        with self.assertRaisesRegex(AssertionError, "was not published. Nothing was published"):
            assert_published(self.stream, "new-message")
        self.send("hello")
        listed = rf'Published:\n  new-message to {self.stream}: {{"text": "hello"}}'
        for arguments, problem in (
            ({"payload": {"text": "bye"}}, 'new-message to .*: {"text": "bye"} was not published'),
            ({"count": 2}, "was published 1 times, not 2"),
            ({"key": "k"}, "with the key k was not published"),
        ):
            with self.assertRaisesRegex(AssertionError, rf"{problem}\. {listed}"):
                assert_published(self.stream, "new-message", **arguments)
        with self.assertRaisesRegex(AssertionError, listed):
            assert_not_published(event="new-message")

    def test_an_open_page_receives_what_is_published(self) -> None:
        self.send("before")
        page = FakeClient(self.bob)
        assert page.receive() == []
        self.send("one")
        publish("all", "e", {"text": "two"})
        publish("user:0", "e", {"text": "to another"})
        assert sorted(texts(page.receive())) == ["one", "two"]
        assert page.receive() == []
        self.send("three")
        (frame,) = page.receive()
        assert frame["event"] == "new-message" and frame["stream"] == self.stream
        assert frame["position"] == page.positions[self.stream]

    def test_a_page_continues_at_its_positions(self) -> None:
        self.send("in the page")
        first = FakeClient(self.bob)
        self.send("missed")
        page = FakeClient(self.bob, since=first.positions)
        assert page.hello[self.stream]["recovered"] is True
        assert texts(page.receive()) == ["missed"]
        rendered = {name: state.head for name, state in history.heads([self.stream]).items()}
        self.send("after the page was rendered")
        page = FakeClient(self.bob, [self.stream], since=rendered)
        assert texts(page.receive()) == ["after the page was rendered"]
        lost = FakeClient(self.bob, since={self.stream: "99-" + "f" * 16})
        assert lost.hello[self.stream]["recovered"] is False and lost.receive() == []

    def test_more_than_one_reading(self) -> None:
        page = FakeClient(self.bob)
        for number in range(history.LIMIT + 1):
            publish("all", "e", {"text": str(number)})
        assert texts(page.receive()) == [str(number) for number in range(history.LIMIT + 1)]

    def test_rights(self) -> None:
        page = FakeClient(self.bob, ["project:9", "all"])
        assert page.hello["project:9"] == {"denied": True}
        assert FakeClient(self.bob, ["project:9"]).close_code == 4003
        self.bob.groups.add(Group.objects.create(name="9"))
        rights_changed(self.bob.pk)
        assert_published(self.stream, "streams-changed", {})
        page = FakeClient(User.objects.get(pk=self.bob.pk), ["project:9"])
        publish("project:9", "e", {"text": "members only"})
        assert texts(page.receive()) == ["members only"]
        self.bob.groups.clear()
        publish("project:9", "e", {"text": "no longer"})
        assert page.receive() == [] and page.close_code == 4003

    def test_nobody_is_signed_in(self) -> None:
        page = FakeClient(self.bob)
        User.objects.update(is_active=False)
        assert page.receive() == [] and page.close_code == 4009
        assert FakeClient(User.objects.get()).close_code == 4001
        assert FakeClient(AnonymousUser()).close_code == 4001

    def test_nothing_arrives_before_the_commit(self) -> None:
        page = FakeClient(self.bob)
        with transaction.atomic():
            self.send("not yet")
            with self.assertRaisesRegex(RuntimeError, "before the block commits"):
                page.receive()
        assert texts(page.receive()) == ["not yet"]


class InTestCase(Shared, TestCase):
    def test_a_later_error_of_the_test_is_its_own(self) -> None:
        page = FakeClient(self.bob)
        with self.assertRaisesRegex(IntegrityError, "."), transaction.atomic():
            self.send("undone")
            User.objects.create_user("bob")
        self.send("hello")
        assert texts(page.receive()) == ["hello"]


class InTransactionTestCase(Shared, TransactionTestCase):
    def test_the_flushed_database_has_an_identity(self) -> None:
        """Each of these tests ends with `flush`, which empties all tables."""
        assert identity.read(connections["default"])

    def test_a_trimmed_page_is_told(self) -> None:
        page = FakeClient(self.bob)
        for text in ("one", "two"):
            self.send(text)
        trim(max_per_stream=0)
        assert page.receive() == [] and page.close_code == 4010


class Asynchronous(TransactionTestCase):
    """The server's side runs in the test's own process, with threads that use the database."""

    async def test_a_socket_of_the_tests_own_loop(self) -> None:
        socket = WebsocketCommunicator(
            updates_application(),
            "/channels/updates/",
            headers=[(b"host", b"localhost"), (b"origin", b"http://localhost")],
            subprotocols=["sluice.v1"],
        )
        assert await socket.connect() == (True, "sluice.v1")
        assert await socket.receive_output() == {"type": "websocket.close", "code": 4001}
        await socket.wait()
