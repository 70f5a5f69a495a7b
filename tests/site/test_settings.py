"""The settings that result from an operator's environment, each in a new process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.utils.module_loading import import_string

APP = Path(__file__).parents[2] / "app"


def python(code: str, tmp_path: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    key = tmp_path / "key"
    key.write_text("".join(map(chr, range(40, 110))))
    base = {
        "PATH": os.environ["PATH"],
        "SECRET_KEY_FILE": str(key),
        "DATABASE_URL": f"sqlite:///{tmp_path}/db.sqlite3",
    }
    return subprocess.run(
        [sys.executable, "-c", code], cwd=APP, env=base | environ, capture_output=True, text=True, timeout=120
    )


def values(names: str, tmp_path: Path, **environ: str) -> list[object]:
    code = f"""
import json, os
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
from django.conf import settings
print(json.dumps([getattr(settings, name) for name in {names.split()!r}], default=str))
"""
    run = python(code, tmp_path, **environ)
    assert run.returncode == 0, run.stderr
    found: list[object] = json.loads(run.stdout)
    return found


def manage(*arguments: str) -> str:
    return f"import sys; sys.argv[1:] = {list(arguments)!r}; import manage; manage.main()"


def test_production_passes_djangos_own_checklist(tmp_path: Path) -> None:
    code = f"""
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
import django
django.setup()
from django.conf import settings
from django.core.management import call_command
settings.STATIC_ROOT = {str(tmp_path / "static")!r}
call_command("collectstatic", interactive=False, verbosity=0)
call_command("check", deploy=True, fail_level="WARNING")
"""
    run = python(code, tmp_path, SITE_URL="https://example.org")
    assert run.returncode == 0, run.stderr


def test_one_variable_gives_hosts_origins_and_cookies(tmp_path: Path) -> None:
    names = "ALLOWED_HOSTS CSRF_TRUSTED_ORIGINS SESSION_COOKIE_SECURE CSRF_COOKIE_SECURE"
    assert values(names, tmp_path, SITE_URL="https://example.org:8443") == [
        ["example.org"],
        ["https://example.org:8443"],
        True,
        True,
    ]
    assert values(names, tmp_path) == [["localhost"], ["http://localhost:8080"], False, False]


@pytest.mark.parametrize(
    ("given", "asks"),
    [
        ({"SITE_URL": "https://example.org"}, True),
        ({"SITE_URL": "https://example.org:443", "TLS": "own"}, True),
        ({"SITE_URL": "https://example.org", "TLS": "self-signed"}, False),
        ({"SITE_URL": "https://example.org:8443", "TLS": "own"}, False),
        ({"SITE_URL": "http://example.org"}, False),
    ],
)
def test_hsts_is_sent_only_where_it_affects_no_other_site_of_the_host(
    tmp_path: Path, given: dict[str, str], asks: bool
) -> None:
    assert values("SECURE_HSTS_SECONDS", tmp_path, **given) == [365 * 24 * 3600 if asks else 0]


def test_the_prefix_is_in_paths_and_in_the_sessions_name(tmp_path: Path) -> None:
    names = "FORCE_SCRIPT_NAME STATIC_URL SESSION_COOKIE_PATH CSRF_COOKIE_PATH "
    names += "SESSION_COOKIE_NAME CSRF_COOKIE_NAME"
    assert values(names, tmp_path, URL_PREFIX="/lab/catmaid") == [
        "/lab/catmaid",
        "/lab/catmaid/static/",
        "/lab/catmaid/",
        "/lab/catmaid/",
        "sessionid_lab_catmaid",
        "csrftoken",
    ]
    assert values(names, tmp_path) == [None, "/static/", "/", "/", "sessionid", "csrftoken"]


def test_passwords_come_from_files(tmp_path: Path) -> None:
    """The publisher's password is read at the connection, so no dump of the settings contains it."""
    (tmp_path / "p").write_text("s3cret/+\n")
    file = str(tmp_path / "p")
    found = values(
        "CELERY_BROKER_URL SLUICE_UPDATES_PUBLISHER_URL SLUICE_UPDATES_PUBLISHER_PASSWORD_FILE",
        tmp_path,
        TASKS_URL="amqp://tasks@mq:5672/celery",
        TASKS_PASSWORD_FILE=file,
        PUBLISHER_URL="amqp://publisher@mq:5672/asgi",
        PUBLISHER_PASSWORD_FILE=file,
    )
    assert found == ["amqp://tasks:s3cret%2F%2B@mq:5672/celery", "amqp://publisher@mq:5672/asgi", file]


def test_a_malformed_environment_is_a_line_and_status_78(tmp_path: Path) -> None:
    run = python(manage("check"), tmp_path, HTTP_PORT="x")
    assert (run.returncode, run.stderr) == (
        78,
        "sluice app: HTTP_PORT=x is malformed: it must be a whole number from 1 to 65535\n",
    )


def test_gunicorn_refuses_to_start_without_a_key(tmp_path: Path) -> None:
    run = python("import sluice_stack.gunicorn.configuration", tmp_path, SECRET_KEY_FILE="")
    assert run.returncode == 78
    assert (
        run.stderr
        == "sluice wsgi: SECRET_KEY_FILE is not set; name a file with 50 random characters or more\n"
    )


@pytest.mark.parametrize(
    ("service", "bind"), [("", "127.0.0.1:8000"), ("wsgi", "0.0.0.0:8000")], ids=["host", "container"]
)
def test_where_gunicorn_listens(tmp_path: Path, service: str, bind: str) -> None:
    run = python(
        "from sluice_stack.gunicorn import configuration; print(configuration.bind)",
        tmp_path,
        SLUICE_SERVICE=service,
    )
    assert run.stdout.strip() == bind, run.stderr


def test_nothing_waits_for_a_broker_while_it_is_imported(tmp_path: Path) -> None:
    """192.0.2.1 never responds. Waiting for it would take longer than a few seconds."""
    url = "amqp://x@192.0.2.1:5672/v"
    code = """
import os, time
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
began = time.monotonic()
import mysite.wsgi, mysite.asgi, mysite.celery
mysite.celery.app.loader.import_default_modules()
assert "volumes.cut_crop" in mysite.celery.app.tasks
print(time.monotonic() - began)
"""
    run = python(code, tmp_path, TASKS_URL=url, PUBLISHER_URL=url, LAYER_URL=url)
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 30


@pytest.mark.parametrize(
    ("scheme", "expected"),
    [("amqp", "mq.example.org:5672 None"), ("amqps", "mq.example.org:5671 mq.example.org")],
)
def test_celery_verifies_whose_certificate_it_is(tmp_path: Path, scheme: str, expected: str) -> None:
    """Without a port in the URL, it uses TLS's default port."""
    code = """
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
from mysite.celery import app
from kombu.transport.pyamqp import Connection
asked = []
Connection.connect = lambda self: asked.append((self.host, (self.ssl or {}).get("server_hostname")))
app.connection_for_read().transport.establish_connection()
print(*asked[0])
"""
    run = python(code, tmp_path, TASKS_URL=f"{scheme}://tasks@mq.example.org/celery")
    assert run.stdout.strip() == expected, run.stderr


def test_gunicorn_loads_what_slices_and_tasks_need_before_the_fork_and_no_event_loop(tmp_path: Path) -> None:
    url = "amqp://x@192.0.2.1:5672/v"
    code = """
import sys, mysite.wsgi
from django.urls import get_resolver
get_resolver().url_patterns
loaded = {name.split(".")[0] for name in sys.modules}
print(sorted(loaded & {"celery", "kombu", "numpy", "zarr", "twisted", "daphne"}))
"""
    run = python(code, tmp_path, TASKS_URL=url, PUBLISHER_URL=url)
    assert run.stdout == "['celery', 'kombu', 'numpy', 'zarr']\n", run.stderr


def test_all_jobs_of_beat_are_functions(settings: Any) -> None:
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        assert callable(import_string(entry["task"]))


def test_daphne_loads_nothing_for_images(tmp_path: Path) -> None:
    code = """
import sys, mysite.asgi
print(sorted({name.split(".")[0] for name in sys.modules} & {"numpy", "zarr", "PIL"}))
"""
    run = python(code, tmp_path)
    assert run.stdout == "[]\n", run.stderr
