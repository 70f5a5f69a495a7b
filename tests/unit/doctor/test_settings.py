"""The doctor finds mistakes in settings, secrets and packages."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from unit.doctor.house import House
from unit.doctor.mistakes import Making, Mistake, as_it_is, edited, gone, recognised, rewritten


def lock(text: str) -> Making:
    """Add a line to the requirements of this host's checkout."""

    def make(house: House) -> AbstractContextManager[None]:
        file = house.app / "requirements.txt"
        return rewritten(file, f"{file.read_text()}\n{text}\n")

    return make


SETTINGS = {
    "a misspelt setting": Mistake(
        edited("daphne.env", "LAYER_URL=", "LAYER_ULR="),
        "settings",
        "daphne",
        "did you mean LAYER_URL?",
        "daphne.env",
    ),
    "a malformed one": Mistake(
        edited("celery.env", "amqp://", "http://"), "settings", "celery", "TASKS_URL", "celery.env"
    ),
    "a secret that is missing": Mistake(
        lambda house: gone(house, "secrets/mq_celery"),
        "settings",
        "celery",
        "mq_celery does not exist",
        "celery.env",
    ),
    "an empty one": Mistake(
        lambda house: edited("secrets/db_beat", house.secret("db_beat").read_text(), "")(house),
        "settings",
        "beat",
        "is empty",
        "beat.env",
    ),
    "another address": Mistake(
        edited("celery.env", "# For", "SITE_URL=http://other.example\n#"),
        "settings-address",
        "celery",
        "http://other.example",
        "SITE_URL",
    ),
    "another address, and nobody asks from outside": Mistake(
        edited("celery.env", "# For", "SITE_URL=http://other.example\n#"),
        "settings-address",
        "celery",
        "its settings say that the site is at http://other.example; other programs have another address",
        "SITE_URL",
        arguments=("--inside",),
    ),
    "the address that is asked is not the site's": Mistake(
        as_it_is,
        "settings-address",
        "gunicorn",
        "not http://localhost/catmaid",
        "URL_PREFIX",
        arguments=("http://localhost/catmaid/",),
    ),
    "DEBUG": Mistake(
        edited("gunicorn.env", "# For", "DEBUG=yes\n#"), "settings-debug", "gunicorn", "DEBUG is on", "DEBUG"
    ),
    "another version": Mistake(
        lock("pytest==1.0 \\\n    --hash=sha256:00"),
        "version-packages",
        "requirements.txt",
        "pytest",
        "pip install",
        "warning",
    ),
    "a package that is missing": Mistake(
        lock("nonesuch==1.0 \\\n    --hash=sha256:00"),
        "version-packages",
        "requirements.txt",
        "not installed: nonesuch",
        "pip install",
    ),
}


@pytest.mark.parametrize("mistake", SETTINGS)
def test_it_recognises_in_the_settings(house: House, front: str, mistake: str) -> None:
    recognised(house, front, SETTINGS[mistake])


def test_a_secret_that_only_root_can_read(house: House) -> None:
    """The doctor tests each running program's access as that program's user, which only root can do."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder, usual = Path(name), pwd.getpwnam("www-data")
        folder.chmod(0o755)
        for file in house.etc.rglob("*"):
            if file.is_file():
                copy = folder / file.relative_to(house.etc)
                copy.parent.mkdir(exist_ok=True)
                copy.write_text(file.read_text().replace(str(house.etc), str(folder)))
                os.chown(copy, 0, usual.pw_gid)
                copy.chmod(0o640)
        own = {"SLUICE_ENV_FILE": str(folder / "sluice.env")}
        with subprocess.Popen(
            ["sleep", "120"], env=own | {"SLUICE_PROGRAM": "celery"}, user="www-data", group="www-data"
        ) as program:
            try:
                asked = ("--inside", "--only", "settings")
                assert house.doctor(*asked, environment=own).bad == []
                secret = folder / house.secret("db_celery").relative_to(house.etc)
                secret.chmod(0o600)
                said = house.doctor(*asked, environment=own)
            finally:
                program.terminate()
    found = said.of("settings", "celery")
    assert found["message"] == f"www-data can't read {secret}"
    assert found["fix"].startswith(f"chgrp www-data {secret}; chmod 0640 {secret}")
    assert [where for _, where, _ in said.bad] == ["celery"]


def test_a_common_setting_that_is_malformed_ends_it_in_a_sentence(house: House) -> None:
    with house.edited("sluice.env", "SITE_URL=http", "SITE_URL=htp"):
        said = house.doctor()
    assert (said.code, said.output) == (78, "")
    assert "SITE_URL=htp" in said.errors and "is malformed" in said.errors


def test_a_first_login_backend_that_knows_no_users(house: House, front: str) -> None:
    """The doctor's own session uses the next backend."""
    (house.app / "mysite/guarded.py").write_text(
        "from mysite.settings import *\n\nclass OnlyRefuses:\n    pass\n\n"
        'AUTHENTICATION_BACKENDS = ["mysite.guarded.OnlyRefuses",'
        ' "django.contrib.auth.backends.ModelBackend"]\n'
    )
    asked = ("--at", front, "--only", "push-hello")
    said = house.doctor(*asked, environment={"DJANGO_SETTINGS_MODULE": "mysite.guarded"})
    assert said.of("push-hello")["verdict"] == "passed", said.output


@pytest.mark.parametrize(
    ("line", "check", "verdict"),
    [
        ('ALLOWED_HOSTS = ["*"]', "sluice_updates.W006", "warning"),
        ("SESSION_COOKIE_SECURE = True", "sluice_updates.E008", "failed"),
    ],
)
def test_settings_that_are_set_against_each_other(house: House, line: str, check: str, verdict: str) -> None:
    (house.app / "mysite/careless.py").write_text(f"from mysite.settings import *\n\n{line}\n")
    said = house.doctor(
        "--inside", "--only", "settings-checks", environment={"DJANGO_SETTINGS_MODULE": "mysite.careless"}
    )
    found = said.of("settings-checks")
    assert (found["where"], found["verdict"], said.code) == (check, verdict, int(verdict == "failed"))
