"""The site with `requirements.txt` only, in its own virtual environment (images/tests): it works, including
polling.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

import mysite
from harness.servers import free_port
from harness.site import Browser
from harness.waiting import wait_until

pytestmark = pytest.mark.image

APP = Path(mysite.__file__).parent.parent
BIN = Path("/opt/sluice/plain/bin")
OPTIONAL = ["amqp", "billiard", "celery", "channels", "channels_rabbitmq", "daphne", "kombu", "twisted"]
PASSWORD = "secret of the admin"


class Site:
    """The site's settings and the programs that run with them."""

    def __init__(self, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ} | {
            "DJANGO_SETTINGS_MODULE": "mysite.settings",
            "DEBUG": "yes",
            "SITE_URL": self.url,
            "WSGI_BIND": self.url.removeprefix("http://"),
            "DATABASE_URL": f"sqlite:///{folder}/site.sqlite3",
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
            # With DEBUG, the default folders are in the checkout, where the tests can't write.
            **{name: str(folder) for name in ("MEDIA_ROOT", "VOLUMES_ROOT", "STATIC_ROOT")},
        }

    def start(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        assert BIN.exists(), f"no {BIN} here: use `make test`, which runs in an image that has it"
        return subprocess.Popen(
            [BIN / program, *arguments], cwd=APP, env=self.environment, stdout=-1, stderr=-2, text=True
        )

    def run(self, program: str, *arguments: str) -> str:
        process = self.start(program, *arguments)
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        return output


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site with an administrator."""
    site = Site(tmp_path_factory.mktemp("plain"))
    site.run("python", "manage.py", "migrate", "-v0")
    site.run("python", "manage.py", "createsuperuser", "--noinput", "--username=admin", "--email=")
    return site


@pytest.fixture
def served(site: Site) -> Iterator[Browser]:
    """The site, served by Gunicorn with the shipped configuration."""
    gunicorn = site.start(
        "gunicorn", "--config", "python:sluice_stack.gunicorn.configuration", "mysite.wsgi:application"
    )
    try:
        wait_until(
            lambda: answers(site.url),
            60,
            "Gunicorn's first answer",
            fatal=lambda: None if gunicorn.poll() is None else gunicorn.communicate()[0],
        )
        yield Browser(site.url)
    finally:
        gunicorn.send_signal(signal.SIGTERM)
        output, _ = gunicorn.communicate(timeout=40)
    assert gunicorn.returncode == 0 and "Traceback" not in output, output


def answers(url: str) -> bool:
    try:
        return Browser(url).get("/healthz").ok
    except requests.ConnectionError:
        return False


def test_nothing_optional_is_there(site: Site) -> None:
    code = "import importlib.util as i, sys; print([name for name in sys.argv[1:] if i.find_spec(name)])"
    assert site.run("python", "-c", code, *OPTIONAL) == "[]\n"


def test_django_has_no_objection(site: Site) -> None:
    assert "no issues" in site.run("python", "manage.py", "check", "--fail-level", "WARNING")


def test_signed_in_users_publish_and_poll(served: Browser) -> None:
    served.sign_in("admin", PASSWORD)
    before = served.get("/updates/").json()["streams"]
    since = ",".join(f"{stream}/{state['head']}" for stream, state in before.items())
    message = served.send_message("admin", "without push")
    updates = served.get(f"/updates/?since={since}").json()["updates"]
    assert [(update["event"], update["payload"]["message_id"]) for update in updates] == [
        ("new-message", message)
    ]
    assert "without push" in served.get("/messages/", headers={"Accept": "text/html"}).text


def test_it_is_ready_and_reports_that_there_is_no_broker(served: Browser) -> None:
    ready = served.get("/readyz").json()
    assert (ready["status"], ready["tasks"]["status"], ready["publisher"]["status"]) == ("ok", "off", "off")


def test_crops_are_cut_by_a_command(site: Site) -> None:
    site.run("python", "manage.py", "run_crops")
