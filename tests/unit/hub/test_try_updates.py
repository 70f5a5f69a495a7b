"""`manage.py try_updates`: what it says of a server that is right, and of others."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .lab import Person, Served, Site, environment


def lines(site: Site, url: str, *arguments: str) -> tuple[int, dict[str, str]]:
    """Its exit status, and its sentences by what they are about."""
    done = subprocess.run(
        [sys.executable, "-m", "django", "try_updates", url, *arguments],
        env=environment(DATABASE_URL=site.database_url, HUBSITE_LAYER="none"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, dict(line.split(": ", 1) for line in (done.stdout + done.stderr).splitlines())


def test_it_times_an_update_and_finds_what_is_missing(site: Site, served: Served, person: Person) -> None:
    """Daphne alone is right by its own ways; it serves neither polling nor pages."""
    site.send(person.stream, 1)
    status, said = lines(site, served.origin, "--user", person.name, "--page", "/")
    assert status == 1
    assert (
        said["publishing"].startswith("the site has published, last 'sent' in ")
        or "last" in said["publishing"]
    )
    assert said["event stream"].startswith("3 updates came, the slowest after ")
    assert said["event stream"].endswith(
        "by way of the database, without CHANNEL_LAYERS and UPDATES_PUBLISHER_URL"
    )
    assert said["WebSocket"] == "it opens"
    assert said["polling"] == "404: urls.py has no path updates/ to updates.urls"
    assert said["page"] == "404: not the 200 that it should be"


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        (404, "Not Found", "404: what answers there is the site, not Daphne: nginx's server lacks"),
        (200, "<p>A page", "what answers there is the site, not Daphne: nginx's server lacks"),
        (503, '503: the service "asgi" isn\'t there', '503: the service "asgi" isn\'t there'),
        (302, "", "302: not the 200 that it should be"),
    ],
)
def test_it_says_what_answers_instead_of_daphne(
    site: Site, person: Person, status: int, text: str, words: str
) -> None:
    with _answering(status, text) as url:
        assert lines(site, url)[1]["event stream"].startswith(words)


def test_nobody_answers(site: Site, person: Person) -> None:
    status, said = lines(site, "http://127.0.0.1:1")
    assert status == 1
    assert "127.0.0.1:1 doesn't answer: " in said["polling"]


def test_there_is_no_such_user(site: Site) -> None:
    status, said = lines(site, "http://127.0.0.1:1", "--user", "nobody")
    assert status == 1
    assert said == {"CommandError": "there is no such user, and nobody who isn't signed in receives updates"}


@contextmanager
def _answering(status: int, text: str) -> Iterator[str]:
    """The URL of a server that answers everything so."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *ignored: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
