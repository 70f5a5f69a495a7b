"""The form for writing a message. It works without scripts too."""

from __future__ import annotations

from typing import Any

from django import forms

from .models import MAX_TEXT, MAX_TITLE
from .reading import BadText, UnknownUser, check_text, find_user


class MessageForm(forms.Form):
    """Recipient, title and text, with the same rules as the API (reading.py)."""

    to = forms.CharField(label="To", max_length=150, widget=forms.TextInput({"autocomplete": "off"}))
    title = forms.CharField(label="Title", max_length=MAX_TITLE, strip=True)
    text = forms.CharField(
        label="Text", max_length=MAX_TEXT, required=False, strip=False, widget=forms.Textarea({"rows": 8})
    )

    def clean_to(self) -> Any:
        try:
            return find_user(self.cleaned_data["to"])
        except UnknownUser as error:
            raise forms.ValidationError("There is no user of this name.") from error

    def clean_title(self) -> str:
        return self._clean("title", lines=False)

    def clean_text(self) -> str:
        # Browsers send the lines of a form with CRLF.
        self.cleaned_data["text"] = self.cleaned_data["text"].replace("\r\n", "\n")
        return self._clean("text", lines=True)

    def _clean(self, name: str, *, lines: bool) -> str:
        text: str = self.cleaned_data[name]
        try:
            check_text(text, lines=lines)
        except BadText as error:
            raise forms.ValidationError(f"It {error}.") from error
        return text
