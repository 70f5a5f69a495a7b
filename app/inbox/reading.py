"""The rules for a message, shared by the form and the API."""

from __future__ import annotations

import unicodedata
from typing import Any

from django.contrib.auth import get_user_model


class BadText(ValueError):
    """A text can't be stored or shown. The message continues a sentence that begins with the field's name."""


class UnknownUser(LookupError):
    """There is no active user of this name."""


def check_text(text: str, *, lines: bool) -> None:
    """Raises BadText for control characters and surrogates. `lines`: line feeds and tabs are allowed.

    Without `lines`, the text must have a visible character.
    """
    if not lines and text and not any(unicodedata.category(character)[0] not in "CZ" for character in text):
        raise BadText("has no visible character")
    for character in text:
        if lines and character in "\n\t":
            continue
        if character < " " or "\x7f" <= character <= "\x9f" or "\ud800" <= character <= "\udfff":
            raise BadText(f"has a character that can't be shown, U+{ord(character):04X}")


def find_user(name: str) -> Any:
    """The active user of this name. Raises UnknownUser."""
    users = get_user_model()
    if len(name) <= 150 and name.isprintable():
        user = users.objects.filter(**{users.USERNAME_FIELD: name}, is_active=True).first()
        if user is not None:
            return user
    raise UnknownUser(name)
