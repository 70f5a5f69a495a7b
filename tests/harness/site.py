"""A browser's HTTP side: pages, cookies, the CSRF token. The update channels are in harness.client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import requests

TIMEOUT = 15.0


class Browser:
    """One cookie jar at the site that begins at `url`. With https, it trusts only `certificate`."""

    def __init__(self, url: str, certificate: Path | None = None) -> None:
        self.url = url
        self.name = ""
        self.http = requests.Session()
        self.http.trust_env = False  # ignore the host's proxy settings
        self.http.verify = str(certificate) if certificate else True

    def sign_in(self, name: str, password: str) -> None:
        """Sign in through the site's own form."""
        page = f"{self.url}/accounts/login/"
        self.http.get(page, timeout=TIMEOUT).raise_for_status()
        form = {
            "username": name,
            "password": password,
            "csrfmiddlewaretoken": self.csrf_token,
            "next": f"{self.url}/",
        }
        answer = self.http.post(
            page, data=form, headers={"Referer": page}, allow_redirects=False, timeout=TIMEOUT
        )
        assert answer.status_code == 302, f"sign-in of {name}: {answer.status_code} {answer.text[:400]}"
        self.name = name

    @property
    def csrf_token(self) -> str:
        return self.http.cookies.get("csrftoken") or ""

    @property
    def cookies(self) -> str:
        """The Cookie header."""
        return "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.http.cookies)

    def get(self, path: str, **options: Any) -> requests.Response:
        """GET `path`, which begins with a slash, below the site's beginning. Redirects are not followed."""
        return self.http.get(self.url + path, timeout=TIMEOUT, allow_redirects=False, **options)

    def post(self, path: str, body: object, **options: Any) -> requests.Response:
        """POST JSON with the CSRF token."""
        headers = {"X-CSRFToken": self.csrf_token, "Referer": self.url + "/"}
        return self.http.post(
            self.url + path, json=body, headers=headers, timeout=TIMEOUT, allow_redirects=False, **options
        )

    # ---- actions of the sample site

    def send_message(self, to: str, title: str, text: str = "…") -> int:
        """POST a message and return its id."""
        answer = self.post("/messages/", {"to": to, "title": title, "text": text})
        assert answer.status_code == 201, f"{answer.status_code} {answer.text[:400]}"
        message_id: int = answer.json()["message_id"]
        return message_id

    def order_crop(self, volume: int, box: dict[str, list[int]]) -> dict[str, Any]:
        """POST a crop and return the response: crop_id, url."""
        answer = self.post(f"/volumes/{volume}/crops/", {"box": box})
        assert answer.status_code == 202, f"{answer.status_code} {answer.text[:400]}"
        accepted: dict[str, Any] = answer.json()
        return accepted
