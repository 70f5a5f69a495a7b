"""Works on the site's database as views do. Reads and writes JSON lines: a function's name with its
arguments, then its result or an error.
"""

import io
import json
import os
import sys
import traceback
from contextlib import ExitStack
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hubsite.settings")
django.setup()

from importlib import import_module  # noqa: E402

from django.conf import settings  # noqa: E402
from django.contrib import auth  # noqa: E402
from django.contrib.auth.models import Group  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, connections, transaction  # noqa: E402
from django.http import HttpRequest  # noqa: E402

from hubsite import tracing  # noqa: E402
from sluice_updates import history, publish  # noqa: E402
from sluice_updates import identity as database  # noqa: E402
from sluice_updates.positions import ZERO  # noqa: E402
from sluice_updates.rights import anonymous_rights_changed, rights_changed  # noqa: E402

SessionStore = import_module(settings.SESSION_ENGINE).SessionStore
User: Any = auth.get_user_model()


def migrate() -> None:
    for alias in settings.DATABASES:
        call_command("migrate", database=alias, verbosity=0)


def manage(*command: str) -> None:
    """Run a command of manage.py, which must succeed."""
    call_command(*command, stdout=sys.stderr)


def sign_in(name: str) -> tuple[int | str, str]:
    """Return the user's id and a new session's key."""
    user, created = User.objects.get_or_create(username=name)
    if created:
        user.set_password("1234")
        user.save()
    request = HttpRequest()
    request.session = SessionStore()
    auth.login(request, user, backend=settings.AUTHENTICATION_BACKENDS[0])
    request.session.save()
    return user.pk if isinstance(user.pk, int) else str(user.pk), request.session.session_key


def sign_out(key: str) -> None:
    request = HttpRequest()
    request.session = SessionStore(key)
    request.user = auth.get_user(request)
    auth.logout(request)


def anonymous_session() -> str:
    session = SessionStore()
    session["basket"] = 1
    session.save()
    return session.session_key


def expire(key: str) -> None:
    SessionStore.get_model_class().objects.filter(session_key=key).update(expire_date="2020-01-01T00:00:00Z")


def change_password(name: str) -> None:
    user = User.objects.get(username=name)
    user.set_password(os.urandom(8).hex())
    user.save()


def deactivate(name: str) -> None:
    User.objects.filter(username=name).update(is_active=False)


def join(name: str, group: str) -> None:
    with transaction.atomic():
        user = User.objects.get(username=name)
        user.groups.add(Group.objects.get_or_create(name=group)[0])
        rights_changed(user.pk)


def leave(name: str, group: str, tell: bool = True) -> None:
    with transaction.atomic():
        user = User.objects.get(username=name)
        user.groups.remove(Group.objects.get(name=group))
        if tell:
            rights_changed(user.pk)


def close_page(stream: str, tell: bool = True) -> None:
    """Let nobody read a page any more."""
    with transaction.atomic():
        Group.objects.create(name=stream)
        if tell:
            anonymous_rights_changed()


def send(stream: str, *numbers: int, size: int = 0) -> None:
    """Publish one update per number, each in its own transaction."""
    for number in numbers:
        publish(stream, "new-message", {"message_id": number, "message_title": "x" * size})


def send_traced(stream: str, *numbers: int, undo: bool = False) -> None:
    """Publish an update for each number in one transaction, in a request's span. `undo`: roll it back."""
    from opentelemetry import trace

    with trace.get_tracer("site").start_as_current_span("request"), transaction.atomic():
        for number in numbers:
            publish(stream, "new-message", {"message_id": number, "message_title": ""})
        transaction.set_rollback(undo)


def spans() -> list[dict[str, Any]]:
    """What this process has exported."""
    return tracing.spans()


tracing.set_up()
_open = ExitStack()


def begin(stream: str, number: int) -> None:
    """Publish in a transaction, and leave it open."""
    other = connections.create_connection("default")

    def close() -> None:
        other.commit()
        other.close()

    _open.callback(close)
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sluice_updates_update (stream, event, payload, created)"
            " VALUES (%s, 'new-message', %s, now())",
            [stream, json.dumps({"message_id": number, "message_title": ""})],
        )


def commit() -> None:
    """Commit the transaction that `begin` left open."""
    _open.close()


def wake_ups(stream: str) -> list[Any]:
    """A stream's updates in the form of a publisher's wake-up."""
    return [
        [update.stream, update.position.offset, update.position.tag, update.frame]
        for update in history.read({stream: ZERO}).updates
    ]


def identity() -> str:
    """The database's identity, which wake-ups name."""
    return database.read(connection)


def reset_xids() -> None:
    call_command("reset_xids", stdout=io.StringIO())


def heads(*streams: str) -> dict[str, str]:
    return {name: str(state.head) for name, state in history.heads(streams).items()}


def floors(*streams: str) -> list[int]:
    return [state.floor.offset for state in history.heads(streams).values()]


def restore(stream: str, position: str) -> None:
    """Delete everything after the position, as a restored backup does."""
    offset, tag = position.split("-")
    with transaction.atomic():
        sql('DELETE FROM sluice_updates_update WHERE stream = %s AND "offset" > %s', stream, int(offset))
        sql(
            "UPDATE sluice_updates_stream SET head = %s, head_tag = %s WHERE name = %s",
            int(offset),
            tag,
            stream,
        )


def trim(stream: str, floor: int) -> None:
    """Trim a stream's updates up to an offset."""
    with transaction.atomic():
        tag = sql('SELECT tag FROM sluice_updates_update WHERE stream = %s AND "offset" = %s', stream, floor)[
            0
        ][0]
        sql('DELETE FROM sluice_updates_update WHERE stream = %s AND "offset" <= %s', stream, floor)
        sql("UPDATE sluice_updates_stream SET floor = %s, floor_tag = %s WHERE name = %s", floor, tag, stream)


def sql(statement: str, *parameters: object) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else cursor.rowcount


def main() -> None:
    for line in sys.stdin:
        name, arguments, keywords = json.loads(line)
        connection.close_if_unusable_or_obsolete()
        try:
            answer = {"result": globals()[name](*arguments, **keywords)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
