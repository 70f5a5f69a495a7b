"""Pages that follow streams: the decorator, the mixin, the template tag and its bad input."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import clear_script_prefix, include, path, set_script_prefix
from django.views.generic import View

from sluice_updates import history, publish
from sluice_updates.page import FollowsMixin, follows, script
from sluice_updates.testing import FakeClient
from updates_lab import pages

POSITION = re.compile(r"0-0|[1-9][0-9]*-[0-9a-f]{16}")


@pytest.fixture(autouse=True)
def project(settings: Any) -> Iterator[None]:
    """The project in updates_lab/pages.py."""
    settings.ROOT_URLCONF = "updates_lab.pages"
    settings.MIDDLEWARE = ["updates_lab.pages.as_user"]
    settings.TEMPLATES = pages.TEMPLATES
    settings.STATIC_URL = "static/"
    settings.DEBUG_PROPAGATE_EXCEPTIONS = True
    yield
    connections.close_all()


def get(path: str) -> HttpResponse:
    return Client().get(path)


def data_of(page: HttpResponse) -> dict[str, Any]:
    """What the tag printed for the script."""
    text = page.content.decode()
    (found,) = re.findall(r'<script id="sluice-updates" type="application/json">(.*?)</script>', text)
    parsed: dict[str, Any] = json.loads(found)
    return parsed


def scripts_of(page: HttpResponse) -> list[str]:
    return re.findall(r'<script type="module"[^>]*></script>', page.content.decode())


def head_of(stream: str) -> str:
    return str(history.heads([stream])[stream].head)


# ---- what the tag prints


def test_what_the_page_needs(database: str) -> None:
    publish("all", "a", {})
    page = get("/default/?user=7")
    assert data_of(page) == {
        "root": "/",
        "poll": "/push/news/",
        "positions": {"user:7": "0-0", "all": head_of("all")},
        "reload": True,
    }
    assert scripts_of(page) == ['<script type="module" src="/static/sluice_updates/page.js"></script>']
    assert "no-store" in page["Cache-Control"] and "private" in page["Cache-Control"]


def test_below_a_script_name(database: str) -> None:
    set_script_prefix("/notes/")  # as Django's handlers do
    try:
        page = get("/default/?user=7")
    finally:
        clear_script_prefix()
    assert data_of(page)["root"] == "/notes/"
    assert data_of(page)["poll"] == "/notes/push/news/"


def test_the_time_between_polls(database: str) -> None:
    request = followed("all")
    text = pages.render(request, "{% load sluice_updates %}{% sluice_updates poll_seconds=5 %}")
    assert data_of(HttpResponse(text))["pollSeconds"] == 5


def test_the_page_of_a_post_is_not_loaded_again(database: str) -> None:
    assert data_of(Client().post("/default/?user=7"))["reload"] is False


def test_a_view_of_json_gives_the_same_positions(database: str) -> None:
    publish("all", "a", {})
    answer = get("/state/?user=7")
    assert json.loads(answer.content) == {"positions": {"all": head_of("all")}}
    assert "no-store" in answer["Cache-Control"]


def test_the_polling_view_continues_from_the_page(database: str) -> None:
    """The update was published while the page was made, so it is after the page's position."""
    publish("all", "before", {})
    before = head_of("all")
    data = data_of(get("/plain/?user=7"))
    assert data["positions"] == {"all": before}
    answer = get(f"{data['poll']}?user=7&streams=all&since=all/{data['positions']['all']}").json()
    assert [update["event"] for update in answer["updates"]] == ["meanwhile"]
    assert answer["streams"]["all"]["recovered"] is True


# ---- views of each kind


@pytest.mark.parametrize(
    ("path", "streams"),
    [
        ("/plain/", ["all"]),
        ("/projects/3/", ["all", "project:3", "user:7"]),
        ("/late/", ["all"]),
        ("/async/", ["all"]),
        ("/class/", ["all"]),
        ("/class/3/", ["project:3"]),
        ("/class-async/", ["all"]),
        ("/decorated-class/", ["all"]),
    ],
)
@pytest.mark.parametrize("handler", ["wsgi", "asgi"])
def test_each_kind_of_view(database: str, path: str, streams: list[str], handler: str) -> None:
    page = get(f"{path}?user=7") if handler == "wsgi" else asyncio.run(AsyncClient().get(f"{path}?user=7"))
    positions = data_of(page)["positions"]
    assert list(positions) == streams
    assert all(map(POSITION.fullmatch, positions.values()))
    assert scripts_of(page) and "no-store" in page["Cache-Control"]


@pytest.mark.parametrize("path", ["/plain/", "/late/", "/class/", "/decorated-class/"])
def test_with_a_transaction_per_request(database: str, path: str) -> None:
    connections.settings[database]["ATOMIC_REQUESTS"] = True
    try:
        publish("all", "before", {})
        before = head_of("all")
        assert data_of(get(f"{path}?user=7"))["positions"] == {"all": before}
    finally:
        connections.settings[database]["ATOMIC_REQUESTS"] = False


def test_a_stream_that_is_named_twice_keeps_the_position_that_was_read_first(database: str) -> None:
    publish("all", "before", {})
    before = head_of("all")
    assert data_of(get("/nested/?user=7"))["positions"] == {
        "all": before,
        "project:9": "0-0",
        "user:7": "0-0",
    }


def test_it_makes_one_query(database: str) -> None:
    with CaptureQueriesContext(connections[database]) as queries:
        followed("all", "user:7", "project:9")
    assert len(queries) == 1


def test_the_sites_cache_does_not_store_the_page(database: str, settings: Any) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    first, second = (data_of(get("/cached/?user=7"))["positions"] for _ in range(2))
    assert first != second  # each view publishes


# ---- visitors who receive no updates


def test_an_anonymous_visitor_gets_an_ordinary_page(database: str) -> None:
    with CaptureQueriesContext(connections[database]) as queries:
        page = get("/default/")
    assert not queries.captured_queries and not scripts_of(page)
    assert data_of(page)["state"] == "signed-out" and data_of(page)["positions"] == {}
    assert not page.has_header("Cache-Control")


def test_a_page_may_follow_nothing(database: str) -> None:
    page = get("/nothing/?user=7")
    assert data_of(page)["state"] == "stopped" and not scripts_of(page)


def test_signed_out_visitors_are_still_led_to_the_form(database: str) -> None:
    assert get("/projects/3/")["Location"] == "/login/?next=/projects/3/"


# ---- a Content-Security-Policy


def nonce_in(text: str) -> list[str]:
    return re.findall(r'<script type="module" src="[^"]*" nonce="([^"]*)"></script>', text)


def test_the_nonce_of_the_context(database: str) -> None:
    template = '{% load sluice_updates %}{% with csp_nonce="abc" %}{% sluice_updates %}{% endwith %}'
    assert nonce_in(pages.render(followed("all"), template)) == ["abc"]


def test_the_nonce_of_the_request(database: str) -> None:
    request = followed("all")
    request.csp_nonce = "of django-csp"
    assert nonce_in(pages.render(request)) == ["of django-csp"]
    assert nonce_in(script(request, nonce='given"&')) == ["given&quot;&amp;"]


def test_the_nonce_of_djangos_middleware(database: str, settings: Any) -> None:
    csp = pytest.importorskip("django.utils.csp", reason="Django before 6.0 has no such middleware").CSP
    settings.SECURE_CSP = {"script-src": [csp.NONCE]}
    settings.MIDDLEWARE = ["django.middleware.csp.ContentSecurityPolicyMiddleware", *settings.MIDDLEWARE]
    page = get("/default/?user=7")
    (nonce,) = nonce_in(page.content.decode())
    assert page["Content-Security-Policy"] == f"script-src 'nonce-{nonce}'"


# ---- static files with hashes


class RewritesImports(ManifestStaticFilesStorage):
    support_js_module_import_aggregation = True


def manifest(settings: Any, root: Path, storage: type = ManifestStaticFilesStorage) -> None:
    settings.STATIC_ROOT = str(root)
    backend = f"{storage.__module__}.{storage.__qualname__}"
    settings.STORAGES = settings.STORAGES | {"staticfiles": {"BACKEND": backend}}


def test_the_hashed_name_of_the_script(database: str, settings: Any, tmp_path: Path) -> None:
    manifest(settings, tmp_path)
    call_command("collectstatic", interactive=False, verbosity=0)
    (found,) = scripts_of(get("/default/?user=7"))
    (name,) = re.findall(r'src="/static/(sluice_updates/page\.[0-9a-f]{12}\.js)"', found)
    assert (tmp_path / name).is_file()


def test_the_hashed_names_of_the_modules(database: str, settings: Any, tmp_path: Path) -> None:
    """Django follows the modules' imports, also those in comments, and refuses a circle."""
    manifest(settings, tmp_path, RewritesImports)
    call_command("collectstatic", interactive=False, verbosity=0)
    (script,) = scripts_of(get("/default/?user=7"))
    waiting, seen = re.findall(r"sluice_updates/(page\.[^\"]+)", script), set()
    while waiting:
        seen.add(name := waiting.pop())
        text = (tmp_path / "sluice_updates" / name).read_text()
        imports = re.findall(r'^import .* from "\./([^"]+)";$', text, re.MULTILINE)
        assert all(re.fullmatch(r"[a-z]+\.[0-9a-f]{12}\.js", each) for each in imports), (name, imports)
        waiting += [each for each in imports if each not in seen]
    modules = {path.name.split(".")[0] for path in (tmp_path / "sluice_updates").glob("*.js")}
    assert {name.split(".")[0] for name in seen} == modules


def test_static_files_that_were_not_collected(database: str, settings: Any, tmp_path: Path) -> None:
    manifest(settings, tmp_path)
    with pytest.raises(ImproperlyConfigured, match=r"Run `manage\.py collectstatic`"):
        get("/default/?user=7")


# ---- bad input


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (
            "/undecorated/",
            r"The view updates_lab\.pages\.Undecorated uses {% sluice_updates %}, but doesn't say",
        ),
        ("/undecorated-state/", r"uses positions\(request\), but doesn't say what the page follows"),
    ],
)
def test_a_view_that_is_not_decorated(database: str, path: str, words: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=words) as error:
        get(f"{path}?user=7")
    assert '@sluice_updates.page.follows("all")' in str(error.value) and "FollowsMixin" in str(error.value)


def test_a_base_template_may_ask(database: str) -> None:
    template = "{% load sluice_updates %}{% if request.sluice_updates %}{% sluice_updates %}{% endif %}"
    assert pages.render(RequestFactory().get("/"), template) == ""
    assert "sluice-updates" in pages.render(followed("all"), template)


def test_a_template_without_the_request(database: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"django\.template\.context_processors\.request"):
        pages.engines["django"].from_string(pages.TAG).render({})


def test_a_project_without_the_urls_for_polling(database: str, settings: Any) -> None:
    settings.ROOT_URLCONF = ()
    with pytest.raises(
        ImproperlyConfigured, match=r'Add path\("updates/", include\("sluice_updates\.urls"\)\)'
    ):
        script(followed("all"))


def test_the_urls_may_have_another_namespace(database: str, settings: Any) -> None:
    settings.ROOT_URLCONF = (path("here/", include("sluice_updates.urls", namespace="push")),)
    assert '"poll": "/here/"' in script(followed("all"))


def test_a_project_without_users(database: str, settings: Any) -> None:
    settings.MIDDLEWARE = []
    with pytest.raises(ImproperlyConfigured, match="AuthenticationMiddleware"):
        get("/default/")


@pytest.mark.parametrize("stream", ["Project:1", "project:1,all", "project:", ""])
def test_names_that_are_not_valid(database: str, stream: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a stream"):
        follows(stream)
    with pytest.raises(ValueError, match="is not the name of a stream"):
        get(f"/any-project/?user=7&project={stream.removeprefix('project:')},")


def test_more_streams_than_a_connection_may_have(database: str) -> None:
    assert len(data_of(get("/many/?user=7&streams=64"))["positions"]) == 64
    with pytest.raises(ValueError, match="a page may follow 64 streams, not 65"):
        get("/many/?user=7&streams=65")


def test_mistakes_with_the_decorator(database: str) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        raise AssertionError

    async def source(request: HttpRequest) -> str:
        raise AssertionError

    class Page(View):
        pass

    with pytest.raises(TypeError, match="needs parentheses"):
        follows(view)(RequestFactory().get("/"))  # @follows
    with pytest.raises(TypeError, match="neither a stream's name nor a plain function"):
        follows(source)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="neither a stream's name nor a plain function"):
        follows(["all"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="For the class Page, use FollowsMixin"):
        follows("all")(Page)
    assert issubclass(type("Live", (FollowsMixin, Page), {}), View)


def followed(*streams: str) -> HttpRequest:
    """A request whose view is decorated."""
    request = RequestFactory().get("/")
    request.user = User(pk=7)
    follows(*streams)(lambda request: HttpResponse())(request)
    return request


# ---- visitors who are not signed in, with SLUICE_UPDATES_ANONYMOUS


def only_all(user: Any, stream: str) -> bool:
    return stream == "all" or stream.startswith("user:")


@pytest.fixture
def public(settings: Any) -> None:
    settings.SLUICE_UPDATES_ANONYMOUS = True
    settings.SLUICE_UPDATES_MAY_READ = f"{__name__}.only_all"


@pytest.mark.parametrize("url", ["/default/", "/late/", "/async/", "/class/", "/nested/"])
def test_a_visitors_page_follows_what_is_public(database: str, public: None, url: str) -> None:
    page = get(url)
    assert data_of(page)["positions"].keys() == {"all"} and len(scripts_of(page)) == 1
    assert "no-store" in page["Cache-Control"]


def test_a_visitors_page_without_public_streams_is_an_ordinary_one(database: str, public: None) -> None:
    page = get("/class/9/")
    assert data_of(page) == {
        "root": "/",
        "poll": "/push/news/",
        "positions": {},
        "reload": True,
        "state": "signed-out",
    }
    assert scripts_of(page) == [] and "Cache-Control" not in page


def test_the_default_rule_leaves_visitors_pages_as_they_were(database: str, settings: Any) -> None:
    settings.SLUICE_UPDATES_ANONYMOUS = True
    page = get("/default/")
    assert data_of(page)["state"] == "signed-out" and "Cache-Control" not in page


def test_a_fake_client_of_a_visitor(database: str, public: None) -> None:
    page = FakeClient(AnonymousUser())
    assert (page.hello, page.close_code) == ({"all": {"head": "0-0"}}, None)
    publish("all", "a", {})
    assert [update["event"] for update in page.receive()] == ["a"]
    assert FakeClient(AnonymousUser(), ["all", "user:7"]).close_code == 4001
    assert FakeClient(AnonymousUser(), ["project:9"]).close_code == 4001
