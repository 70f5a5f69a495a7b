"""The doctor finds faults of Gunicorn and Daphne from outside, through an nginx as shipped."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest
from unit.doctor.fronts import bare
from unit.doctor.house import House, Said

from config.nginx_lab import Nginx
from harness.waiting import wait_until


def test_gunicorn_is_gone(house: House, front: str) -> None:
    with house.without("gunicorn"):
        found = house.doctor("--at", front, "--only", "front-pages").of("front-pages")
    assert found["message"] == "Gunicorn is down" and "$sluice_wsgi" in found["fix"]


def test_gunicorn_is_frozen_and_the_doctor_does_not_wait_long(house: House, front: str) -> None:
    with house.paused("gunicorn"):
        said = house.doctor(
            "--at", front, "--only", "front-answers", "front-name", "front-pages", "split-site"
        )
    assert said.of("front-answers")["verdict"] == "passed"
    assert said.of("front-pages")["message"] == "pages get no answer: no answer within 8 s"
    assert said.of("split-site")["verdict"] == "skipped"


def test_gunicorn_was_not_restarted_after_the_name_changed(house: House, tmp_path: Path) -> None:
    url = "http://new.example"
    with house.front(tmp_path, SITE_URL=url) as at:
        said = house.doctor(
            url, "--at", f"http://{at}", "--only", "front-name", "push-upgrade", "settings-address"
        )
    assert "restart Gunicorn" in said.of("front-name")["fix"]
    assert "refuses the page's Origin" in said.of("push-upgrade")["message"]
    assert "restart Daphne" in said.of("push-upgrade")["fix"]
    assert f"not {url}" in said.of("settings-address")["message"]


# HSTS is not required on ports other than 443, or with an untrusted certificate.
@pytest.mark.parametrize(
    "settings",
    [{"SITE_URL": "https://localhost:8443"}, {"SITE_URL": "https://localhost", "TLS": "self-signed"}],
    ids=lambda settings: " ".join(settings.values()),
)
def test_gunicorn_learns_of_https_or_not(house: House, tmp_path: Path, settings: dict[str, str]) -> None:
    url = settings["SITE_URL"]

    def said(told: bool) -> Said:
        def change(nginx: Nginx) -> None:
            nginx.edit_place({} if told else {"default https": "default http"})

        with house.front(tmp_path / str(told), change, SITE_URL=url) as at:
            return house.doctor(
                url, "--at", f"http://{at}", "--only", "front-pages", "front-certificate",
                environment=settings,
            )  # fmt: skip

    with house.restarted("gunicorn", **settings):
        well, ill = said(True), said(False)
    assert well.of("front-pages")["verdict"] == "passed"
    assert ill.of("front-pages")["message"].startswith("Gunicorn does not know that visitors use https")
    assert "$sluice_scheme" in ill.of("front-pages")["fix"]
    assert well.of("front-certificate")["message"] == "a proxy in front does the TLS"


# Lines of a site's own settings, and the resulting messages.
OWN_SETTINGS = {
    "no static files were ever collected": (
        'STATIC_ROOT = "/nowhere"\n',
        "the sign-in page gets 500",
        "Gunicorn's log",
    ),
    "https is insisted on where there is none": (
        "SECURE_SSL_REDIRECT = True\n",
        "the sign-in page redirects to https://",
        "SECURE_SSL_REDIRECT",
    ),
}


@pytest.mark.parametrize("what", OWN_SETTINGS)
def test_gunicorn_serves_no_page(house: House, front: str, what: str) -> None:
    lines, message, fix = OWN_SETTINGS[what]
    (house.app / "mysite/wanting.py").write_text(f"from mysite.settings import *\n\n{lines}")
    with house.restarted("gunicorn", DJANGO_SETTINGS_MODULE="mysite.wanting"):
        found = house.doctor("--at", front, "--only", "front-pages").of("front-pages")
    assert message in found["message"] and fix in found["fix"], found


def test_the_site_is_served_under_any_name(house: House, tmp_path: Path) -> None:
    (house.app / "mysite/anybody.py").write_text('from mysite.settings import *\n\nALLOWED_HOSTS = ["*"]\n')
    with (
        house.restarted("gunicorn", DJANGO_SETTINGS_MODULE="mysite.anybody"),
        house.front(tmp_path, bare()(house)) as at,
    ):
        said = house.doctor("--at", at, "--only", "front-name")
    assert "ALLOWED_HOSTS" in said.of("front-name")["fix"]


def test_daphne_is_gone(house: House, front: str) -> None:
    with house.without("daphne"):
        said = house.doctor(
            "--at", front, "--only", "push-upgrade", "push-hello", "push-health", "push-origin"
        )
    assert said.of("push-upgrade")["message"] == said.of("push-health")["message"] == "Daphne is down"
    assert said.of("push-hello")["message"] == said.of("push-origin")["message"]
    assert "see push-upgrade" in said.of("push-hello")["message"]


def test_daphne_is_frozen(house: House, front: str) -> None:
    with house.paused("daphne"):
        said = house.doctor(
            "--at", front, "--only", "push-upgrade", "push-hello", "push-origin", "push-headers"
        )
    assert (
        said.of("push-upgrade")["message"] == "the WebSocket handshake gets no answer: no answer within 8 s"
    )
    assert said.of("push-headers")["verdict"] == "skipped"


def test_daphne_has_no_more_files(house: House, front: str) -> None:
    with house.restarted("daphne", "prlimit", "--nofile=48"), contextlib.ExitStack() as held:
        for _ in range(60):
            held.enter_context(socket.create_connection(("127.0.0.1", house.ports["daphne"])))
        said = house.doctor("--at", front, "--only", "push-upgrade", "open-files")
    assert said.of("push-upgrade")["verdict"] == "failed" and "open-files" in said.of("push-upgrade")["fix"]
    assert "may open 48 files" in said.of("open-files", "daphne")["message"]
    assert "minfds" in said.of("open-files", "daphne")["fix"]


def test_daphne_has_another_host_name(house: House, front: str) -> None:
    with house.restarted("daphne", SITE_URL="http://old.example"):
        found = house.doctor("--at", front, "--only", "push-upgrade").of("push-upgrade")
    assert "refuses the page's Origin" in found["message"] and "SITE_URL" in found["fix"]


def test_daphne_has_another_key(house: House, front: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("k" * 64)
    with house.restarted("daphne", SECRET_KEY_FILE=str(tmp_path / "key")):
        found = house.doctor("--at", front, "--only", "push-hello").of("push-hello")
    assert "does not know a session" in found["message"] and "SECRET_KEY_FILE" in found["fix"]


def test_daphne_is_without_its_database_or_its_broker_or_both(house: House, front: str) -> None:
    without = (
        {"DATABASE_URL": "postgresql://asgi@127.0.0.1:1/sluice"},
        {"LAYER_URL": "amqp://layer@127.0.0.1:1/asgi"},
    )
    with house.restarted("daphne", is_well=False, **without[0]):
        found = house.doctor("--at", front, "--only", "push-hello").of("push-hello")
        assert found["message"] == "Daphne can't reach its database"
    with house.restarted("daphne", is_well=False, **without[1]):
        said = house.doctor("--at", front, "--only", "push-hello", "push-health")
        assert said.of("push-hello")["verdict"] == "passed"
        assert (said.of("push-health")["verdict"], said.code) == ("warning", 0)
        assert "the layer carries none" in said.of("push-health")["message"]
    with house.restarted("daphne", is_well=False, **without[0], **without[1]):
        found = house.doctor("--at", front, "--only", "push-health").of("push-health")
        assert (found["verdict"], "is deaf" in found["message"]) == ("failed", True)


def test_other_sites_pages_are_let_in(house: House, front: str) -> None:
    (house.app / "mysite/hospitable.py").write_text(
        'from mysite.settings import *\n\nCSRF_TRUSTED_ORIGINS = ["https://*.invalid"]\n'
    )
    with house.restarted("daphne", DJANGO_SETTINGS_MODULE="mysite.hospitable"):
        found = house.doctor("--at", front, "--only", "push-origin").of("push-origin")
    assert (
        "a foreign page may open a WebSocket" in found["message"] and "CSRF_TRUSTED_ORIGINS" in found["fix"]
    )


# Another application in its place for signed-in users. The file `mood` controls it.
OWN_APPLICATION = """
from pathlib import Path
from mysite.asgi import application as site

async def application(scope, receive, send):
    if scope["type"] != "websocket" or not any(name == b"cookie" for name, _ in scope["headers"]):
        return await site(scope, receive, send)
    await receive()
    await send({"type": "websocket.accept"})
    match Path("mood").read_text():
        case "other": await send({"type": "websocket.send", "text": "welcome"})
        case "closed": await send({"type": "websocket.close", "code": 4013})
        case "silent": Path("silent").touch()
    while (await receive())["type"] != "websocket.disconnect":
        pass
"""


def test_daphne_runs_another_application_and_then_stops(house: House, front: str) -> None:
    (house.app / "greeting.py").write_text(OWN_APPLICATION)
    mood, silent = house.app / "mood", house.app / "silent"
    asked = ("--at", front, "--only", "push-hello")

    def said(is_in: str) -> dict[str, str]:
        mood.write_text(is_in)
        return house.doctor(*asked).of("push-hello")

    with house.restarted("daphne", arguments=["greeting:application"]):
        assert said("other")["message"] == "the first frame is not a hello"
        found = said("closed")
        assert found["message"] == "Daphne closes it with 4013" and "protocol.md" in found["fix"]
        assert said("silent")["message"] == "no hello within 4 s"
        silent.unlink()
        with house.doctor_at_work(*asked) as doctor:
            wait_until(silent.exists, 30, "its socket")
            house.programs["daphne"].terminate()
            output, _ = doctor.communicate(timeout=60)
        assert "push-hello: Daphne is about to stop" in output


def test_daphne_falls_silent(house: House, front: str) -> None:
    """After its hello, no ping comes."""
    with house.doctor_at_work("--at", front, "--only", "push-idle") as doctor:
        assert doctor.stdout is not None
        assert doctor.stdout.readline().startswith("passed    push-hello")
        with house.paused("daphne"):
            output, _ = doctor.communicate(timeout=60)
    assert "failed    push-idle: Daphne does not ping: no frame in 30 s" in output
