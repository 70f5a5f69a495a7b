"""The inbox as a page and as JSON, and sending messages to others."""

from __future__ import annotations

from typing import Any

from django.contrib import messages as flash
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import get_script_prefix
from django.views.decorators.http import require_http_methods

from common.api import ApiError, api, bad_field, only_fields, only_methods, read_object
from common.pages import button, shows_errors
from common.paging import Page, read_page
from sluice_stack.errors import wants_json
from sluice_updates.page import follows

from . import changes
from .forms import MessageForm
from .models import MAX_TEXT, MAX_TITLE, Message
from .reading import BadText, UnknownUser, check_text, find_user
from .sending import send


def messages(request: HttpRequest) -> HttpResponse:
    """GET: a page of the user's messages, newest first. POST: send a message."""
    if request.method in ("GET", "HEAD") and not wants_json(request):
        return inbox_page(request)
    return messages_api(request)


messages.csrf_exempt = True  # type: ignore[attr-defined]  # messages_api checks the token, after the 401


@login_required
@follows()
@shows_errors
def inbox_page(request: HttpRequest) -> HttpResponse:
    return render(request, "inbox/inbox.html", {"page": _page(request)})


@api
def messages_api(request: HttpRequest) -> HttpResponse:
    only_methods(request, "GET", "POST")
    if request.method != "POST":
        page = _page(request)
        return JsonResponse({"messages": [as_json(message) for message in page.rows], "older": page.older})
    body = read_object(request)
    only_fields(body, ("to", "title", "text"))
    title = _read_text(body, "title", MAX_TITLE, lines=False)
    text = _read_text(body, "text", MAX_TEXT, lines=True)
    message = send(_read_recipient(body), title, text, sender=request.user)
    return JsonResponse({"message_id": message.pk}, status=201)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@follows()
def write(request: HttpRequest) -> HttpResponse:
    """The form for a message. `to` in the query is the initial recipient."""
    if request.method == "POST":
        form = MessageForm(request.POST)
        if form.is_valid():
            wanted = form.cleaned_data
            send(wanted["to"], wanted["title"], wanted["text"], sender=request.user)
            flash.success(request, f"Your message to {wanted['to'].get_username()} was sent.")
            return redirect("messages")
    else:
        form = MessageForm(initial={"to": request.GET.get("to", "")})
    return render(request, "inbox/write.html", {"form": form}, status=422 if form.errors else 200)


@api
def unread(request: HttpRequest) -> HttpResponse:
    """GET: the number of the user's unread messages."""
    only_methods(request, "GET")
    return JsonResponse({"unread": changes.unread_count(request.user)})


@button("messages")
def mark_read(request: HttpRequest, message_id: int) -> dict[str, Any]:
    """POST: mark the message as read."""
    message = _own(request.user, message_id)
    changes.set_read(message, True)
    return as_json(message)


@button("messages")
def mark_unread(request: HttpRequest, message_id: int) -> dict[str, Any]:
    """POST: mark the message as unread."""
    message = _own(request.user, message_id)
    changes.set_read(message, False)
    return as_json(message)


@button("messages")
def mark_all_read(request: HttpRequest) -> dict[str, Any]:
    """POST: mark all messages as read."""
    return {"up_to": changes.read_all(request.user)}


@button("messages")
def delete(request: HttpRequest, message_id: int) -> dict[str, Any]:
    """POST: delete the message."""
    changes.delete(_own(request.user, message_id))
    return {"message_id": message_id}


def as_json(message: Message) -> dict[str, Any]:
    """A message in the API's format."""
    return {
        "message_id": message.pk,
        "title": message.title,
        "text": message.text,
        "from": message.sender.get_username() if message.sender else None,
        "link": get_script_prefix() + message.link if message.link else None,
        "read": message.read,
        "created": message.created.isoformat(),
    }


def _page(request: HttpRequest) -> Page:
    return read_page(request, Message.objects.filter(recipient=request.user).select_related("sender"))


def _own(user: Any, message_id: int) -> Message:
    """The user's message with this id. Raises ApiError (404), also if it belongs to another user."""
    found = Message.objects.filter(pk=message_id, recipient=user).select_related("sender").first()
    if found is None:
        raise ApiError(404, "there is no such message; it may have been deleted", "message")
    return found


def _read_text(body: dict[str, Any], field: str, longest: int, *, lines: bool) -> str:
    """The valid text in a field; without `lines`, it has one line and is not empty. Raises ApiError (400)."""
    text = body[field]
    if not isinstance(text, str):
        raise bad_field(field, "must be text")
    if len(text) > longest:
        raise bad_field(field, f"has {len(text)} characters, at most {longest} are allowed", longest)
    if not lines and not text.strip():
        raise bad_field(field, "is empty")
    try:
        check_text(text, lines=lines)
    except BadText as error:
        raise bad_field(field, str(error)) from None
    return text


def _read_recipient(body: dict[str, Any]) -> Any:
    name = body["to"]
    if not isinstance(name, str):
        raise bad_field("to", "must be the name of a user")
    try:
        return find_user(name)
    except UnknownUser:
        raise ApiError(404, "there is no user of this name", "to") from None
