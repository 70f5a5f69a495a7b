"""A setting with an invalid value: the container logs its name and the reason on one line, and exits at
once.
"""

from __future__ import annotations

import pytest

from harness.compose import ComposeFailed
from harness.stack import SERVICES, Stack
from harness.symptoms import assert_proved, assert_refuted
from harness.waiting import wait_until

EX_CONFIG = 78

MALFORMED = [
    ("nginx", "URL_PREFIX", "/a/"),
    ("nginx", "URL_PREFIX", "catmaid; return 200"),
    ("nginx", "SITE_URL", "localhost:8080"),
    ("nginx", "EXPOSE_BACKEND", "maybe"),
    ("wsgi", "WSGI_WORKERS", "many"),
    ("wsgi", "WSGI_THREADS", "0"),
    ("wsgi", "CROP_MAX_VOXELS", "-1"),
    ("wsgi", "URL_PREFIX", "/a/"),
    ("asgi", "SITE_URL", "ftp://localhost"),
    ("asgi", "UPDATES_MAX_CONNECTIONS_PER_USER", "no"),
    ("asgi", "LAYER_URL", "redis://redis"),
    ("worker", "DATABASE_URL", "mysql://x"),
    ("celery", "CELERY_CONCURRENCY", "1.5"),
    ("beat", "UPDATES_MAX_AGE_DAYS", "soon"),
    ("beat", "LOG_LEVEL", "loud"),
    ("migrate", "ADMIN_USERNAME", "a b"),
]


@pytest.mark.parametrize(("service", "name", "value"), MALFORMED)
def test_a_malformed_value_is_named_on_one_line(stack: Stack, service: str, name: str, value: str) -> None:
    done = stack.service(service)[0].run_like_it({name: value})
    assert done.code == EX_CONFIG and len(done.output.splitlines()) == 1, done
    assert f"{name}={value}" in done.output and "malformed" in done.output, done


@pytest.mark.parametrize("service", [*SERVICES, "migrate", "init"])
def test_an_unknown_name_is_refused_with_the_nearest_known_one(stack: Stack, service: str) -> None:
    done = stack.service(service)[0].run_like_it({"LOG_LEVLE": "debug"})
    assert done.code == EX_CONFIG and len(done.output.splitlines()) == 1, done
    assert "LOG_LEVLE is not a setting" in done.output, done


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("SITE_ULR", "http://localhost", "did you mean SITE_URL"), ("URL_PREFIX", "/a/", "malformed")],
)
def test_a_wrong_line_in_env_stops_the_start(image_tag: str, name: str, value: str, words: str) -> None:
    heading = "Status 78, is not a setting of this container"
    stack = Stack(image_tag, {name: value})
    folder = {"docker compose": f"cd {stack.folder}; docker compose --project-name {stack.name}"}
    try:
        with pytest.raises(ComposeFailed) as failure:
            stack.up("init")
        assert words in str(failure.value) and name in str(failure.value)
        assert stack.service("init")[0].state["ExitCode"] == EX_CONFIG
        assert_proved(heading, folder)
        del stack.given[name]
        stack.compose.write_env(stack.settings)
        stack.up("init", wait=False)
        init = stack.service("init")[0]
        wait_until(lambda: init.state["Status"] == "exited", 60, "the end of init")
        assert init.state["ExitCode"] == 0
        assert_refuted(heading, folder)
    finally:
        stack.close()


def test_rabbitmq_needs_no_hand_after_a_first_start_with_a_wrong_env(image_tag: str) -> None:
    """Without secrets it refuses to start; with them it does, and everybody can sign in."""
    stack = Stack(image_tag, {"LOG_LEVEL": "loud"})
    try:
        stack.compose.run("up", "--detach", "--no-build", "init", "rabbitmq", check=False)
        rabbitmq = stack.service("rabbitmq")
        wait_until(lambda: "no readable secret" in rabbitmq.logs(), 60, "a refusal", every=0.25)
        assert not rabbitmq[0].healthy
        del stack.given["LOG_LEVEL"]
        stack.compose.write_env(stack.settings)
        stack.compose.run("up", "--detach", "--no-build", "init", "rabbitmq")
        rabbitmq.wait_healthy(60)
        sign_in = "rabbitmqctl authenticate_user layer $(< /run/sluice/secrets/mq_layer)"
        assert rabbitmq.exec("bash", "-c", sign_in).code == 0
        assert "all accounts can sign in" in rabbitmq.health_log()
    finally:
        stack.close()
