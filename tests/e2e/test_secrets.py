"""Secrets: random, readable only by the accounts that need them."""

from __future__ import annotations

import json

import pytest

from harness import layers
from harness.engine import engine
from harness.stack import SERVICES, Stack

READERS = {
    "django_secret_key": {"wsgi", "asgi", "worker", "celery", "beat"},
    "admin_password": set(),
    "db_owner": {"postgres"},
    "db_wsgi": {"postgres", "wsgi"},
    "db_asgi": {"postgres", "asgi"},
    "db_worker": {"postgres", "worker"},
    "db_celery": {"postgres", "celery"},
    "db_beat": {"postgres", "beat"},
    "mq_layer": {"rabbitmq", "asgi", "worker"},
    "mq_publisher": {"rabbitmq", "wsgi", "celery", "beat", "worker"},
    "mq_celery": {"rabbitmq", "celery"},
    "mq_tasks": {"rabbitmq", "wsgi", "beat"},
}
IMAGES = ("wsgi", "asgi", "worker", "nginx", "rabbitmq", "postgres")


def test_each_service_reads_its_own_secrets_and_no_other(stack: Stack, service: str) -> None:
    script = 'for path; do [[ ! -r /run/sluice/secrets/$path ]] || echo "$path"; done'
    readable = stack.service(service).exec("bash", "-c", script, "readable", *READERS).output.split()
    assert set(readable) == {name for name, readers in READERS.items() if service in readers}


def test_they_are_random_and_in_no_environment_command_or_label(stack: Stack) -> None:
    values = list(stack.secrets().values())
    assert set(stack.secrets()) == set(READERS) and len(set(values)) == len(values)
    assert all(len(value) >= 32 and value.isalnum() for value in values)
    known = json.dumps([container.attrs for container in stack.containers()])
    assert not [name for name, value in stack.secrets().items() if value in known]


def test_they_are_in_no_log(stack: Stack) -> None:
    written = {service: stack.service(service).logs() for service in (*SERVICES, "migrate", "init")}
    assert not [
        (name, service)
        for name, value in stack.secrets().items()
        for service, log in written.items()
        if value in log
    ]


@pytest.mark.parametrize("image", IMAGES)
def test_no_image_sets_a_secret(image_tag: str, image: str) -> None:
    found = engine().images.get(f"sluice-{image}:{image_tag}")
    text = json.dumps([found.attrs["Config"], found.history()]).lower()
    assert not [word for word in ("password=", "secret=", "token=", "erlang_cookie=") if word in text]


def test_no_layer_holds_a_secret_a_compiler_or_a_cache(image_tag: str) -> None:
    assert not layers.unwanted([f"sluice-{image}:{image_tag}" for image in IMAGES])


def test_no_default_account_works(stack: Stack) -> None:
    users = stack.rabbitmqctl("--quiet", "list_users", "--no-table-headers").output
    assert {line.split()[0] for line in users.splitlines()} == {"layer", "publisher", "celery", "tasks"}
    attempt = "PGPASSWORD=postgres psql --no-psqlrc -h 127.0.0.1 -U postgres -d sluice -c 'SELECT 1'"
    assert stack.service("postgres").exec("bash", "-c", attempt).code != 0
    vhosts = stack.rabbitmqctl("--quiet", "list_vhosts", "--no-table-headers").output.split()
    assert set(vhosts) == {"asgi", "celery"}
