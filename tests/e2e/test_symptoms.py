"""docs/reference/symptoms.md in containers: its commands, with the replacements that the page gives for
containers.
"""

from __future__ import annotations

import pytest

from harness import raw
from harness.stack import Stack
from harness.symptoms import assert_proved, assert_refuted, in_containers

# For each symptom, replacements that make its command test something healthy in this stack.
WELL = {
    "404 from Django": {},
    "400, Invalid HTTP_HOST header": {"sluice.example.org": "localhost", "['localhost']": "[]"},
    "worker_connections are not enough": {},
    "Pushes from tasks are lost": {"VHOST": "asgi"},
    "Back-pressuring": {},
    "Unhealthy after a restart of RabbitMQ": {},
    "A memory or disk alarm": {},
    "RabbitMQ refused our credentials": {},
    "Refusing to initialize channel layer": {},
    "different event loop": {},
    "does not support Normal Channels": {},
}


@pytest.mark.parametrize("heading", WELL)
def test_all_is_well(stack: Stack, heading: str) -> None:
    assert_refuted(heading, in_containers(heading, stack.compose) | WELL[heading])


@pytest.mark.parametrize(
    ("heading", "host"),
    [("426, this is a WebSocket", "localhost"), ("421, this server answers for", "sluice.example.org")],
)
def test_a_request_that_is_refused_is_in_the_log(stack: Stack, heading: str, host: str) -> None:
    raw.get(stack.port, "/channels/updates/", headers={"Host": host})
    assert_proved(heading, in_containers(heading, stack.compose))


def test_an_origin_may_or_may_not(stack: Stack) -> None:
    heading, site = "403 to the handshake", {"localhost:8080": f"localhost:{stack.port}"}
    assert_proved(heading, site)
    assert_refuted(heading, site | {"https://sluice.example.com": stack.origin})
