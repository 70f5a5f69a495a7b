"""`manage.py try_updates`: its report on a correct server and on faulty ones."""

from __future__ import annotations

import http.server
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from harness.servers import free_port
from harness.tls import Authority
from harness.waiting import wait_until
from updates_lab.site import Person, Served, Site, environment

pytestmark = pytest.mark.servers  # these tests wait for seconds


def lines(
    site: Site, url: str, *arguments: str, database: str = "", **variables: str
) -> tuple[int, dict[str, str]]:
    """Run the command. Return its exit status, and its sentences by subject."""
    done = subprocess.run(
        [sys.executable, "-m", "django", "try_updates", url, *arguments],
        env=environment(
            DATABASE_URL=database or site.database_url,
            **{"HUBSITE_LAYER": "none", "HUBSITE_NOTIFY": "no"} | variables,
        ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, dict(line.split(": ", 1) for line in (done.stdout + done.stderr).splitlines())


def test_it_times_an_update_and_finds_what_is_missing(
    site: Site, serve: Callable[..., Served], person: Person
) -> None:
    """Daphne alone passes for its own transports. It serves neither polling nor pages."""
    served = serve("-m", "sluice_updates.server", "hubsite.asgi:with_sockets", HUBSITE_LAYER="none")
    site.send(person.stream, 1)
    status, said = lines(site, served.origin, "--user", person.name, "--page", "/")
    assert status == 1
    assert said["publishing"].startswith("the site has published, last ")
    assert said["event stream"].startswith("3 updates arrived, the slowest after ")
    assert said["event stream"].endswith(
        "by the database, since CHANNEL_LAYERS and SLUICE_UPDATES_PUBLISHER_URL are not set"
    )
    assert said["WebSocket"] == "it opens"
    assert said["polling"].startswith("404: nothing is at /push/news/; ")
    assert said["page"] == "404: 200 is expected"


def test_it_names_the_way_without_a_broker(site: Site, serve: Callable[..., Served], person: Person) -> None:
    watching = serve(HUBSITE_NOTIFY="", HUBSITE_LAYER="none")
    polling = serve(HUBSITE_NOTIFY="no", HUBSITE_LAYER="none")
    said = lines(site, watching.origin, "--user", person.name, HUBSITE_NOTIFY="")[1]
    assert said["event stream"].endswith("by a look at SQLite's file"), said
    said = lines(site, polling.origin, "--user", person.name, HUBSITE_NOTIFY="")[1]
    assert said["event stream"].endswith(
        "/channels/healthz shows why a look at SQLite's file did not wake Daphne"
    )


def test_polling_and_a_page(site: Site, person: Person) -> None:
    """The site itself, without Daphne. Its URL for polling is its own, and its page has the tag."""
    with _site_itself(site) as url:
        status, said = lines(site, url, "--user", person.name, "--page", "/page/")
        assert status == 1
        assert said["polling"] == "the update arrived"
        assert said["page"] == "/page/ loads /static/sluice_updates/page.js"
    with _site_itself(site, serves_static_files=False) as url:
        said = lines(site, url, "--user", person.name, "--page", "/page/")[1]
        assert said["page"].startswith(
            "/page/ loads /static/sluice_updates/page.js, which answers 404: run col"
        )


def test_below_a_prefix(site: Site, person: Person) -> None:
    asked: list[str] = []
    with _answering(404, "", asked=asked) as url:
        lines(site, f"{url}/notes", HUBSITE_SCRIPT_NAME="/notes")
        lines(site, f"{url}/notes")  # the server's WSGI environment sets it
    polls = [path.split("?")[0] for path in asked if "channels" not in path]
    assert polls == ["/notes/push/news/"] * 2


def test_a_page_without_the_tag(site: Site, person: Person) -> None:
    with _answering(200, "<p>A page") as url:
        said = lines(site, url, "--page", "/")[1]
    assert said["page"].startswith("/ does not have {% sluice_updates %}, and doesn't load updates.js")


def test_urls_without_polling(site: Site, person: Person) -> None:
    said = lines(site, "http://127.0.0.1:1", HUBSITE_URLCONF="django.contrib.auth.urls")[1]
    assert said["polling"] == "urls.py does not include sluice_updates.urls"


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        (404, "Not Found", "404: the site answers there, not Daphne: nginx does not pass"),
        (200, "<p>A page", "the site answers there, not Daphne: nginx does not pass"),
        (503, '503: the service "asgi" isn\'t there', '503: the service "asgi" isn\'t there'),
        (302, "", "302: 200 is expected"),
    ],
)
def test_it_names_the_server_that_responds_instead_of_daphne(
    site: Site, person: Person, status: int, text: str, words: str
) -> None:
    with _answering(status, text) as url:
        assert lines(site, url)[1]["event stream"].startswith(words)


def test_it_connects_to_another_address_than_the_names(site: Site, served: Served, person: Person) -> None:
    """As on a host whose name leads to a proxy in front of it."""
    url = f"http://no-such-host.invalid:{served.port}"
    said = lines(site, url, "--user", person.name, "--connect", "127.0.0.1")[1]
    assert said["event stream"].startswith("3 updates arrived, the slowest after ")
    said = lines(site, url, "--user", person.name)[1]
    assert said["event stream"].startswith(f"no-such-host.invalid:{served.port} does not answer: ")


def test_it_names_the_target_of_a_redirect(site: Site, person: Person) -> None:
    """The server only redirects to https."""
    with _answering(301, "", place="https://example.org/") as url:
        status, said = lines(site, url, "--page", "/")
    assert status == 1
    assert {said[way] for way in ("polling", "event stream", "WebSocket", "page")} == {
        "301: redirected to https://example.org/; give the URL after all redirects"
    }


def test_a_proxy_that_buffers_events(site: Site, person: Person) -> None:
    """Not even the headers arrive."""
    with _answering(404, "", held="/channels/updates/sse") as url:
        said = lines(site, url)[1]
    assert said["event stream"].startswith("nothing came within 10 s: Daphne hangs, or a proxy in front of")
    assert said["polling"].startswith("404: ")


def test_no_server_responds(site: Site, person: Person) -> None:
    status, said = lines(site, "http://127.0.0.1:1")
    assert status == 1
    assert "127.0.0.1:1 does not answer: " in said["polling"]


def test_a_certificate_that_is_not_trusted(site: Site, person: Person, tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with _answering(404, "", tls=context) as url:
        said = lines(site, url)[1]
        assert "'s certificate: unable to get local issuer certificate; if it is" in said["polling"]
        trusted = lines(site, url, SSL_CERT_FILE=str(tmp_path / "authority.pem"))[1]
        assert trusted["polling"].startswith("404: nothing is at /push/news/; ")


def test_there_is_no_such_user(site: Site) -> None:
    status, said = lines(site, "http://127.0.0.1:1", "--user", "nobody")
    assert status == 1
    assert said == {
        "CommandError": "there is no such active user; create one, since only signed-in users receive updates"
    }


@pytest.mark.parametrize(
    "url", ["127.0.0.1:1", "example.org", "ftp://127.0.0.1:1", "http:///notes", "http://["]
)
def test_no_url(site: Site, person: Person, url: str) -> None:
    status, said = lines(site, url)
    assert status == 1
    assert list(said) == ["CommandError"]


def test_without_migrate(site: Site, tmp_path: Path) -> None:
    status, said = lines(site, "http://127.0.0.1:1", database=f"sqlite://{tmp_path}/new.sqlite3")
    assert status == 1
    assert said["CommandError"].startswith("the database does not answer: no such table: auth_user")


def test_without_a_database(site: Site) -> None:
    status, said = lines(site, "http://127.0.0.1:1", database="postgresql://x:x@127.0.0.1:1/x")
    assert status == 1
    assert said["CommandError"].startswith("the database does not answer: connection failed")


def test_the_tables_disappear_during_the_probe(site: Site, person: Person, tmp_path: Path) -> None:
    """The tables vanish between two transports, and before the session is removed."""
    copy = tmp_path / "copy.sqlite3"
    original = site.database_url.removeprefix("sqlite://")
    with closing(sqlite3.connect(original)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)

    def drop() -> None:
        with closing(sqlite3.connect(copy)) as database, database:
            for table in ("sluice_updates_update", "sluice_updates_stream", "sluice_updates_session"):
                database.execute(f"DROP TABLE IF EXISTS {table}")

    hello = 'data: {"event": "hello"}\n\n'
    with _answering(200, hello, "text/event-stream", before=drop) as url:
        status, said = lines(site, url, database=f"sqlite://{copy}")
    assert status == 1
    assert said["event stream"].startswith("the database does not answer: no such table: sluice_updates_")


@pytest.mark.parametrize("frame", ["no json", "[1]"])
def test_a_response_that_is_not_the_protocols(site: Site, person: Person, frame: str) -> None:
    with _answering(200, f"data: {frame}\n\n", "text/event-stream") as url:
        said = lines(site, url)[1]
    assert said["event stream"].startswith("the response of 127.0.0.1:")
    assert "can't be read: " in said["event stream"]
    assert said["polling"].startswith("the response at /push/news/ is not from sluice_updates.urls; ")


def test_the_session_is_by_a_backend_that_knows_the_user(site: Site, served: Served, person: Person) -> None:
    """Some backends that come first only refuse logins. A session with such a backend authenticates no
    user.
    """
    backends = "hubsite.backends.OnlyRefuses django.contrib.auth.backends.ModelBackend"
    said = lines(site, served.origin, HUBSITE_BACKENDS=backends)[1]
    assert said["event stream"].startswith("3 updates arrived")


def test_no_backend_knows_the_user(site: Site, person: Person) -> None:
    status, said = lines(site, "http://127.0.0.1:1", HUBSITE_BACKENDS="hubsite.backends.OnlyRefuses")
    assert status == 1
    assert said["CommandError"].startswith("no backend of AUTHENTICATION_BACKENDS has a get_user()")


def test_with_sessions_in_signed_cookies(site: Site, serve: Callable[..., Served], person: Person) -> None:
    """Such sessions have no key before they are saved, and nothing to remove."""
    engine = "django.contrib.sessions.backends.signed_cookies"
    served = serve(HUBSITE_SESSION_ENGINE=engine)
    said = lines(site, served.origin, HUBSITE_SESSION_ENGINE=engine)[1]
    assert said["event stream"].startswith("3 updates arrived")


def test_sessions_that_can_not_be_kept(site: Site, person: Person, tmp_path: Path) -> None:
    """A file exists where the sessions' folder should be."""
    (tmp_path / "file").touch()
    engine = "django.contrib.sessions.backends.file"
    status, said = lines(
        site,
        "http://127.0.0.1:1",
        HUBSITE_SESSION_ENGINE=engine,
        HUBSITE_SESSION_FILE_PATH=str(tmp_path / "file"),
    )
    assert status == 1
    assert said["CommandError"].startswith(f"{engine} can't store a session: ")


def test_it_is_no_superuser_if_there_is_another(site: Site, tmp_path: Path) -> None:
    """The requested stream shows whose session it was."""
    asked: list[str] = []
    own = Site(f"sqlite://{tmp_path}/own.sqlite3")
    try:
        own.migrate()
        root, somebody = own.person(), own.person()
        with closing(sqlite3.connect(tmp_path / "own.sqlite3")) as database, database:
            database.execute("UPDATE auth_user SET is_superuser = 1 WHERE id = ?", [root.id])
        with _answering(404, "", asked=asked) as url:
            lines(own, url)
            lines(own, url, "--user", root.name)
    finally:
        own.close()
    streams = [line.split("streams=")[1].split("&")[0] for line in asked if "sse" in line]
    assert streams == [somebody.stream, root.stream]


@contextmanager
def _site_itself(site: Site, *, serves_static_files: bool = True) -> Iterator[str]:
    """The URL of Django's development server."""
    port = free_port()
    command = ["runserver", "--noreload", "--skip-checks", f"127.0.0.1:{port}"]
    command += ["--insecure"] if serves_static_files else ["--nostatic"]
    process = subprocess.Popen(
        [sys.executable, "-m", "django", *command], env=environment(DATABASE_URL=site.database_url)
    )
    try:
        wait_until(
            lambda: _accepts(port),
            20,
            "the server",
            fatal=lambda: None if process.poll() is None else "it has ended",
        )
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def _answering(
    status: int,
    text: str,
    kind: str = "text/plain",
    *,
    asked: list[str] | None = None,
    before: Callable[[], None] = lambda: None,
    held: str = "",
    tls: ssl.SSLContext | None = None,
    place: str = "",
) -> Iterator[str]:
    """The URL of a server with one response for every request. A request for the path `held` gets its
    response only at the end. With `tls`, the server is https at localhost.
    """
    ending = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            before()
            if held and self.path.startswith(held):
                ending.wait()
            if asked is not None:
                asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if place:
                self.send_header("Location", place)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *ignored: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"{'https://localhost' if tls else 'http://127.0.0.1'}:{server.server_address[1]}"
        finally:
            ending.set()
            server.shutdown()
