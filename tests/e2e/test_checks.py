"""`manage.py check --deploy` in the containers, with their real accounts and broker."""

from __future__ import annotations

import pytest

from harness.stack import Stack

PYTHON = "/opt/sluice/venv/bin/python"
CHECK = (PYTHON, "/opt/sluice/app/manage.py", "check", "--deploy", "--tag", "sluice_updates")


@pytest.mark.parametrize("service", ["wsgi", "asgi", "worker", "celery", "beat"])
def test_the_system_checks_report_nothing(stack: Stack, service: str) -> None:
    done = stack.service(service)[0].exec(*CHECK)
    assert (done.code, "no issues" in done.output) == (0, True), done.output


def test_a_vhost_that_is_gone_is_named(healed: Stack) -> None:
    assert healed.rabbitmqctl("delete_vhost", "celery").code == 0
    done = healed.service("wsgi")[0].exec(*CHECK)
    assert "CELERY_BROKER_URL: the broker at rabbitmq:5672 has no vhost 'celery'" in done.output
