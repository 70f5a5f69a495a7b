"""The inbox, as a page and as JSON, and sending to others."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.auth import get_user_model
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import get_script_prefix

from mysite.api import ApiError, api, bad_field, only_fields, only_methods, read_object, wants_json
from mysite.pages import live

from .models import MAX_TEXT, MAX_TITLE, Message
from .sending import send

PAGE: Final = 100  # of the newest messages


def messages(request: HttpRequest) -> HttpResponse:
    """GET: one's own messages, newest first. POST: a message to somebody."""
    if request.method in ("GET", "HEAD") and not wants_json(request):
        return inbox_page(request)
    return messages_api(request)


messages.csrf_exempt = True  # type: ignore[attr-defined]  # messages_api enforces it, after the 401


@live
def inbox_page(request: HttpRequest) -> HttpResponse:
    return render(request, "inbox/inbox.html", {"inbox": _newest(request.user)})


@api
def messages_api(request: HttpRequest) -> HttpResponse:
    only_methods(request, "GET", "POST")
    if request.method != "POST":
        return JsonResponse({"messages": [as_json(message) for message in _newest(request.user)]})
    body = read_object(request)
    only_fields(body, ("to", "title", "text"))
    title = _read_text(body, "title", MAX_TITLE, lines=False)
    text = _read_text(body, "text", MAX_TEXT, lines=True)
    message = send(_read_recipient(body), title, text, sender=request.user)
    return JsonResponse({"message_id": message.pk}, status=201)


def as_json(message: Message) -> dict[str, Any]:
    """What the API says about a message."""
    return {
        "message_id": message.pk,
        "title": message.title,
        "text": message.text,
        "from": message.sender.get_username() if message.sender else None,
        "link": get_script_prefix() + message.link if message.link else None,
        "read": message.read,
        "created": message.created.isoformat(),
    }


def _newest(user: Any) -> list[Message]:
    return list(Message.objects.filter(recipient=user).select_related("sender")[:PAGE])


def _read_text(body: dict[str, Any], field: str, longest: int, *, lines: bool) -> str:
    """A text that can be stored and shown: no control or half characters; without `lines`, on one line."""
    text = body[field]
    if not isinstance(text, str):
        raise bad_field(field, "must be text")
    if len(text) > longest:
        raise bad_field(field, f"has {len(text)} characters, at most {longest} are allowed", longest)
    if not lines and not text.strip():
        raise bad_field(field, "is empty")
    for character in text:
        if lines and character in "\n\t":
            continue
        if character < " " or "\x7f" <= character <= "\x9f" or "\ud800" <= character <= "\udfff":
            raise bad_field(field, f"has a character that can't be shown, U+{ord(character):04X}")
    return text


def _read_recipient(body: dict[str, Any]) -> Any:
    users = get_user_model()
    name = body["to"]
    if not isinstance(name, str):
        raise bad_field("to", "must be the name of a user")
    if len(name) > 150 or not name.isprintable():
        raise ApiError(404, "there is no user of this name", "to")
    user = users.objects.filter(**{users.USERNAME_FIELD: name}, is_active=True).first()
    if user is None:
        raise ApiError(404, "there is no user of this name", "to")
    return user
