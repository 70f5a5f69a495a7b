"""Files: static ones, which are never stale, and those that need the application's permission."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from config.nginx_lab import Nginx, Probe, lab

Site = tuple[str, Nginx]
YEAR = "public, max-age=31536000, immutable"


@pytest.fixture(scope="module", params=["", "/catmaid"], ids=lambda prefix: prefix or "no prefix")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    running: tuple[Nginx, Probe, Probe]
    with lab(tmp_path_factory.mktemp("nginx"), URL_PREFIX=request.param) as running:
        yield request.param, running[0]


@pytest.mark.parametrize(
    ("name", "caching"),
    [
        ("css/base.5af66c1b1797.css", YEAR),
        ("LICENSE.5af66c1b1797", YEAR),
        ("js/a.min.0123456789ab.js", YEAR),
        ("css/base.css", "no-cache"),
        ("5af66c1b1797.css", "no-cache"),
        ("a.5af66c1b179.css", "no-cache"),
        ("a.5AF66C1B1797.css", "no-cache"),
        ("a.5af66c1b1797.d/b.css", "no-cache"),
    ],
)
def test_a_hashed_name_is_cached_for_a_year_and_any_other_revalidated(
    site: Site, name: str, caching: str
) -> None:
    prefix, nginx = site
    nginx.static(name, "body { }")
    answer = nginx.send(f"{prefix}/static/{name}")
    assert (answer.status, answer.made_by, answer.text) == (200, "nginx", "body { }")
    assert answer.one("Cache-Control") == caching
    again = nginx.send(f"{prefix}/static/{name}", headers={"If-None-Match": answer.one("ETag")})
    assert (again.status, again.one("Cache-Control")) == (304, caching)


def test_a_file_that_changed_is_sent_again(site: Site) -> None:
    prefix, nginx = site
    nginx.static("changing.css", "old")
    tag = nginx.send(f"{prefix}/static/changing.css").one("ETag")
    nginx.static("changing.css", "newer")
    answer = nginx.send(f"{prefix}/static/changing.css", headers={"If-None-Match": tag})
    assert (answer.status, answer.text) == (200, "newer")


def test_text_is_compressed_and_pages_are_not(site: Site) -> None:
    prefix, nginx = site
    nginx.static("long.js", "let x = 1;\n" * 500)
    wanted = {"Accept-Encoding": "gzip"}
    answer = nginx.send(f"{prefix}/static/long.js", headers=wanted)
    assert (answer.one("Content-Encoding"), answer.one("Vary"), answer.one("Content-Type")) == (
        "gzip",
        "Accept-Encoding",
        "application/javascript; charset=utf-8",
    )
    page = nginx.send(f"{prefix}/?header=X-Long:{'x' * 3000}", headers=wanted)
    assert (page.status, page.one("Content-Encoding")) == (200, "")


@pytest.mark.parametrize(
    "path",
    [
        "none.css",
        "",
        "css",
        "css/",
        "../nginx.conf",
        "..%2f..%2fetc/passwd",
        "%2e%2e/media/secret.tiff",
        "css/..;/x",
    ],
)
def test_only_files_are_found_and_none_outside_of_the_folder(site: Site, path: str) -> None:
    prefix, nginx = site
    nginx.static("css/a.css")
    nginx.media("secret.tiff", "secret")
    answer = nginx.send(f"{prefix}/static/{path}")
    assert answer.status in (400, 404) or answer.made_by == "wsgi"
    assert not answer.all("Location")
    assert "secret" not in answer.text or answer.made_by == "wsgi"
    assert not answer.all("Cache-Control") or answer.one("Cache-Control") == "no-store"


def test_a_static_file_is_only_read(site: Site) -> None:
    prefix, nginx = site
    nginx.static("a.css")
    answer = nginx.send(f"{prefix}/static/a.css", method="POST")
    assert (answer.status, answer.made_by, answer.one("Allow")) == (405, "nginx", "GET, HEAD")
    assert nginx.send(f"{prefix}/static/a.css", method="HEAD").status == 200


@pytest.mark.parametrize(
    "spelling",
    [
        "/protected-media/secret.tiff",
        "//protected-media/secret.tiff",
        "/%70rotected-media/secret.tiff",
        "/x/../protected-media/secret.tiff",
        "/protected-media/../protected-media/secret.tiff",
    ],
)
def test_a_protected_file_is_nowhere_for_clients(site: Site, spelling: str) -> None:
    prefix, nginx = site
    nginx.media("secret.tiff", "secret")
    for path in {spelling, prefix + spelling}:
        answer = nginx.send(path, headers={"X-Accel-Redirect": "/protected-media/secret.tiff"})
        assert (answer.status, answer.made_by) == (404, "nginx")
        assert "secret" not in answer.text


def test_the_application_hands_out_a_protected_file(site: Site) -> None:
    prefix, nginx = site
    nginx.media("crops/7 ü.tiff", "voxels")
    file = "/protected-media/crops/7%2520%25C3%25BC.tiff"
    wanted = f"header=X-Accel-Redirect:%20{file}&type=image/tiff&header=Content-Disposition:%20attachment"
    answer = nginx.send(f"{prefix}/crops/7/download/?{wanted}")
    assert (answer.status, answer.text, answer.made_by) == (200, "voxels", "wsgi")
    assert (answer.one("Content-Type"), answer.one("Content-Disposition")) == ("image/tiff", "attachment")
    assert nginx.send(f"{prefix}/crops/7/download/?{wanted}", headers={"Range": "bytes=1-2"}).text == "ox"
    missing = nginx.send(f"{prefix}/crops/7/download/?header=X-Accel-Redirect:%20/protected-media/none.tiff")
    assert missing.status == 404


def test_the_application_can_not_serve_files_outside_of_the_media_folder(site: Site) -> None:
    prefix, nginx = site
    nginx.static("a.css", "static")
    answer = nginx.send(f"{prefix}/?header=X-Accel-Redirect:%20/protected-media/../../etc/nginx.conf")
    assert answer.status in (404, 500, 502)
