"""The two images that hold data, each alone: what they create at first, what they repair at each start, and
how they stop.

Without built images this file has no tests; `make e2e` tests the whole stack.
"""

import json
import os
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from docker.errors import ImageNotFound
from docker.models.containers import Container
from docker.models.volumes import Volume

from harness.engine import OWNER_LABEL, PREFIX, PROJECT_LABEL, engine, run_id
from harness.waiting import wait_until

TAG = os.environ.get("SLUICE_IMAGE_TAG", "latest")
SECRETS = "/run/sluice/secrets"
DATABASE_GROUPS = list(range(2310, 2316))
BROKER_GROUPS = list(range(2320, 2324))
ROLES = ["asgi", "beat", "celery", "owner", "wsgi", "worker"]


def _built() -> bool:
    try:
        return all(engine().images.get(f"sluice-{name}:{TAG}") for name in ("wsgi", "rabbitmq", "postgres"))
    except (ImageNotFound, docker.errors.DockerException):
        return False


class Kept(ABC):
    """A container of one of the images, hardened as in compose.yaml, with its volumes."""

    check: str

    def __init__(self, image: str, groups: list[int], data: str, tmpfs: dict[str, str], **more: Any) -> None:
        self.name = f"{PREFIX}-{run_id()}-{secrets.token_hex(4)}"
        self.volumes = [self._volume(kind) for kind in ("secrets", "data")]
        self.make_secrets()
        self.container: Container = engine().containers.create(
            f"sluice-{image}:{TAG}",
            labels={OWNER_LABEL: self.name},
            read_only=True,
            tmpfs=tmpfs,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            group_add=groups,
            network_mode="none",
            volumes={
                self.volumes[0].name: {"bind": SECRETS, "mode": "ro"},
                self.volumes[1].name: {"bind": data, "mode": "rw"},
            },
            **more,
        )

    def _volume(self, kind: str) -> Volume:
        return engine().volumes.create(f"{self.name}-{kind}", labels={PROJECT_LABEL: self.name})

    def make_secrets(self, *lost: str) -> None:
        """Do what `init` does, after the loss of the secrets `lost`."""
        self._in_secrets(
            f"rm -f {' '.join(f'{SECRETS}/{name}' for name in lost)}; exec python -m sluice_stack.init"
        )

    def _in_secrets(self, script: str) -> None:
        """Run a script with `init`'s right to write there."""
        engine().containers.run(
            f"sluice-wsgi:{TAG}",
            ["bash", "-c", script],
            entrypoint=[],
            environment={"SLUICE_SERVICE": "init"},
            user="2000:2000",
            group_add=[2301, 2302, *DATABASE_GROUPS, *BROKER_GROUPS],
            network_mode="none",
            volumes={self.volumes[0].name: {"bind": SECRETS, "mode": "rw"}},
            labels={OWNER_LABEL: self.name},
            remove=True,
            working_dir="/opt/sluice/app",
        )

    def lose_secrets(self) -> None:
        """Delete all secrets, as in a new volume."""
        self._in_secrets(f"rm -f {SECRETS}/*")

    def start(self) -> None:
        self.container.start()
        wait_until(self.is_well, 30, f"{self.container.image} to be well", fatal=self.death, every=0.05)

    @abstractmethod
    def is_well(self) -> bool:
        """Whether it serves clients."""

    def death(self) -> str | None:
        self.container.reload()
        gone = self.container.status == "exited"
        return f"it ended:\n{self.log()}" if gone else None

    def log(self) -> str:
        return b"".join(self.container.logs(stream=True, follow=False)).decode()

    def run(self, *command: str) -> str:
        status, output = self.container.exec_run(list(command))
        assert isinstance(output, bytes)
        assert status == 0, output.decode()
        return output.decode()

    def health(self) -> tuple[int, str]:
        """Exit status and words of the image's health check."""
        status, output = self.container.exec_run([self.check])
        assert isinstance(output, bytes) and status is not None
        return status, output.decode()

    def stop(self) -> int:
        """Stop it and return its exit status."""
        self.container.stop(timeout=30)
        return int(self.container.wait()["StatusCode"])

    def remove(self) -> None:
        self.container.remove(force=True)
        for volume in self.volumes:
            volume.remove(force=True)


class Postgres(Kept):
    check = "database-health"

    def __init__(self) -> None:
        tmpfs = {"/run/postgresql": "uid=2103,gid=2103,mode=0755"}
        super().__init__("postgres", DATABASE_GROUPS, "/var/lib/postgresql/data", tmpfs)

    def is_well(self) -> bool:
        check = ["pg_isready", "--host=127.0.0.1", "--dbname=sluice", "--username=wsgi"]
        return self.container.exec_run(check).exit_code == 0

    def query(self, statement: str) -> list[str]:
        command = ("psql", "--dbname=sluice", "--no-align", "--tuples-only", "--command", statement)
        return self.run(*command).splitlines()

    def may_sign_in(self, role: str, password_of: str) -> bool:
        """Whether `role` can sign in over the network with the secret `password_of`."""
        script = f"PGPASSWORD=$(cat {SECRETS}/{password_of}) exec psql -h 127.0.0.1 -U {role} -d sluice -c ''"
        return self.container.exec_run(["bash", "-c", script]).exit_code == 0


class Rabbitmq(Kept):
    check = "broker-health"

    def __init__(self) -> None:
        super().__init__("rabbitmq", BROKER_GROUPS, "/var/lib/rabbitmq", {"/tmp": ""}, hostname="rabbitmq")

    def is_well(self) -> bool:
        return self.container.exec_run(["bash", "-c", "</dev/tcp/127.0.0.1/5672"]).exit_code == 0

    def listed(self, what: str, *options: str) -> list[dict[str, Any]]:
        output = self.run("rabbitmqctl", "--quiet", "--formatter", "json", what, *options)
        found: list[dict[str, Any]] = json.loads(output)
        return found

    def may_sign_in(self, user: str) -> bool:
        script = f"exec rabbitmqctl authenticate_user {user} $(cat {SECRETS}/mq_{user})"
        return self.container.exec_run(["bash", "-c", script]).exit_code == 0


if _built():

    @pytest.fixture(scope="module")
    def postgres() -> Iterator[Postgres]:
        server = Postgres()
        server.start()
        yield server
        server.remove()

    @pytest.fixture(scope="module")
    def rabbitmq_image() -> Iterator[Rabbitmq]:
        server = Rabbitmq()
        server.start()
        yield server
        server.remove()

    # --- PostgreSQL ---

    def test_each_role_has_its_own_password_and_few_rights(postgres: Postgres) -> None:
        rows = postgres.query(
            "SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolconnlimit > 0 AND NOT (rolsuper OR"
            " rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls) ORDER BY rolname"
        )
        assert rows == sorted(ROLES)
        assert postgres.may_sign_in("wsgi", "db_wsgi")
        assert not postgres.may_sign_in("wsgi", "db_owner")
        assert not postgres.may_sign_in("postgres", "db_owner")

    def test_there_is_room_for_all_connections_that_roles_may_open(postgres: Postgres) -> None:
        (room,) = postgres.query(
            "SELECT current_setting('max_connections')::int - sum(rolconnlimit)"
            " - current_setting('superuser_reserved_connections')::int FROM pg_roles WHERE rolconnlimit > 0"
        )
        assert int(room) >= 0

    def test_only_the_owner_makes_tables(postgres: Postgres) -> None:
        rows = postgres.query(
            "SELECT rolname FROM pg_roles WHERE rolconnlimit > 0"
            " AND has_schema_privilege(rolname, 'public', 'CREATE')"
        )
        assert rows == ["owner"]

    def test_data_is_checked_and_text_sorts_the_same_everywhere(postgres: Postgres) -> None:
        assert postgres.query("SHOW data_checksums") == ["on"]
        assert postgres.query(
            "SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'sluice'"
        ) == ["b|C.UTF-8"]

    def test_a_start_repairs_changes_and_losses(postgres: Postgres) -> None:
        postgres.query("CREATE TABLE kept AS SELECT 42 AS answer")
        postgres.query("ALTER ROLE beat SUPERUSER CONNECTION LIMIT 1000")
        postgres.container.kill()
        postgres.container.wait()
        postgres.make_secrets("db_*")
        postgres.start()
        assert postgres.query("SELECT answer FROM kept") == ["42"]
        assert postgres.query("SELECT rolsuper, rolconnlimit FROM pg_roles WHERE rolname = 'beat'") == ["f|5"]
        assert all(postgres.may_sign_in(role, f"db_{role}") for role in ROLES)

    def test_it_ends_in_order(postgres: Postgres) -> None:
        assert postgres.stop() == 0
        postgres.start()

    def test_a_missing_secret_is_named(postgres: Postgres) -> None:
        postgres.stop()
        engine().containers.run(
            f"sluice-postgres:{TAG}",
            ["-c", f"chmod 0 {SECRETS}/db_asgi"],
            entrypoint=["bash"],
            user="2000:2000",
            volumes={postgres.volumes[0].name: {"bind": SECRETS, "mode": "rw"}},
            remove=True,
        )
        postgres.container.start()
        assert postgres.container.wait()["StatusCode"] == 78
        assert f"sluice postgres: no readable secret {SECRETS}/db_asgi" in postgres.log()
        postgres.make_secrets()
        postgres.start()

    def test_its_health_check_takes_up_new_secrets(postgres: Postgres) -> None:
        assert postgres.health() == (0, "")
        postgres.make_secrets("db_*")
        assert not postgres.may_sign_in("wsgi", "db_wsgi")
        status, words = postgres.health()
        assert status == 0, words
        assert all(postgres.may_sign_in(role, f"db_{role}") for role in ROLES)
        assert "sluice postgres: a secret has changed" in postgres.log()
        postgres.lose_secrets()
        status, words = postgres.health()
        assert status != 0 and f"no readable secret {SECRETS}/db_owner" in words
        postgres.make_secrets()

    def test_it_waits_for_the_secrets_that_init_makes(postgres: Postgres) -> None:
        """At the very first start, both start at the same time."""
        postgres.stop()
        postgres.lose_secrets()
        postgres.container.start()
        assert not postgres.death()
        postgres.make_secrets()
        wait_until(postgres.is_well, 30, "it to be well", fatal=postgres.death)

    def test_it_can_be_stopped_while_it_waits_for_them(postgres: Postgres) -> None:
        postgres.stop()
        postgres.lose_secrets()
        postgres.container.start()
        began = time.monotonic()
        assert postgres.stop() == 0
        assert time.monotonic() - began < 10  # its own limit is 20
        postgres.make_secrets()
        postgres.start()

    def test_a_crash_while_the_database_is_made_leaves_no_half_of_one() -> None:
        server = Postgres()
        try:
            server.container.start()
            half = "/var/lib/postgresql/data/17.new/global/pg_control"
            script = f"until [[ -e {half} ]]; do read -rt 0.01 <> <(:) || :; done"
            server.run("timeout", "20", "bash", "-c", script)
            server.container.kill()
            server.container.wait()
            server.start()
            assert server.may_sign_in("owner", "db_owner")
        finally:
            server.remove()

    # --- RabbitMQ ---

    def test_there_are_four_users_and_two_vhosts(rabbitmq_image: Rabbitmq) -> None:
        users = {user["user"]: user["tags"] for user in rabbitmq_image.listed("list_users")}
        assert users == {"layer": [], "publisher": [], "celery": [], "tasks": []}
        assert sorted(vhost["name"] for vhost in rabbitmq_image.listed("list_vhosts")) == ["asgi", "celery"]

    @pytest.mark.parametrize(
        ("vhost", "user", "configure", "write", "read"),
        [
            ("asgi", "publisher", "^$", "^groups$", "^$"),
            ("celery", "tasks", "^$", r"^(amq\.default|celery_delayed_27)$", "^$"),
            (
                "celery",
                "celery",
                "^celery(_delayed_.*)?$",
                r"^(celery(_delayed_.*)?|amq\.default)$",
                "^celery(_delayed_.*)?$",
            ),
        ],
    )
    def test_each_user_has_the_permissions_it_needs(
        rabbitmq_image: Rabbitmq, vhost: str, user: str, configure: str, write: str, read: str
    ) -> None:
        found = {row["user"]: row for row in rabbitmq_image.listed("list_permissions", "-p", vhost)}
        assert found[user] == {"user": user, "configure": configure, "write": write, "read": read}

    def test_the_queue_of_tasks_is_there_and_outlives_a_crash(rabbitmq_image: Rabbitmq) -> None:
        (queue,) = rabbitmq_image.listed("list_queues", "-p", "celery", "name", "type", "durable")
        assert queue == {"name": "celery", "type": "quorum", "durable": True}

    def test_a_start_removes_strangers_and_takes_new_passwords(rabbitmq_image: Rabbitmq) -> None:
        rabbitmq_image.run("rabbitmqctl", "--quiet", "add_user", "intruder", "password")
        rabbitmq_image.container.kill()
        rabbitmq_image.container.wait()
        rabbitmq_image.make_secrets("mq_*")
        rabbitmq_image.start()
        wait_until(lambda: len(rabbitmq_image.listed("list_users")) == 4, 10, "the stranger to be removed")
        assert rabbitmq_image.may_sign_in("layer")

    def test_it_takes_up_new_secrets_while_it_runs(rabbitmq_image: Rabbitmq) -> None:
        wait_until(lambda: rabbitmq_image.health()[0] == 0, 20, "a healthy broker")
        rabbitmq_image.make_secrets("mq_*")
        wait_until(lambda: rabbitmq_image.may_sign_in("layer"), 20, "the new password")
        assert all(rabbitmq_image.may_sign_in(user) for user in ("publisher", "celery", "tasks"))
        assert "loaded the accounts again: user celery can't sign in" in rabbitmq_image.log()

    def test_it_puts_back_an_account_that_was_removed(rabbitmq_image: Rabbitmq) -> None:
        rabbitmq_image.run("rabbitmqctl", "delete_user", "publisher")
        rabbitmq_image.run("rabbitmqctl", "clear_permissions", "--vhost", "celery", "tasks")
        wait_until(lambda: rabbitmq_image.may_sign_in("publisher"), 20, "the account")
        wait_until(
            lambda: (
                "tasks" in {row["user"] for row in rabbitmq_image.listed("list_permissions", "-p", "celery")}
            ),
            20,
            "the permission",
        )

    def test_its_health_check_names_what_is_refused(rabbitmq_image: Rabbitmq) -> None:
        rabbitmq_image.lose_secrets()
        wait_until(lambda: rabbitmq_image.health()[0] == 1, 20, "an unhealthy broker")
        assert "the secret mq_layer can't be read" in rabbitmq_image.health()[1]
        rabbitmq_image.make_secrets()
        wait_until(lambda: rabbitmq_image.health()[0] == 0, 20, "a healthy broker")
        rabbitmq_image.run("rabbitmqctl", "delete_vhost", "celery")
        wait_until(lambda: "there is no vhost celery" in rabbitmq_image.health()[1], 20, "the vhost named")
        assert rabbitmq_image.stop() == 0
        rabbitmq_image.start()
        wait_until(lambda: rabbitmq_image.health()[0] == 0, 20, "a healthy broker")

    def test_without_secrets_it_refuses_to_start(rabbitmq_image: Rabbitmq) -> None:
        rabbitmq_image.stop()
        rabbitmq_image.lose_secrets()
        since = time.time()
        rabbitmq_image.container.start()
        assert rabbitmq_image.container.wait()["StatusCode"] == 78
        said = rabbitmq_image.container.logs(since=since).decode().splitlines()
        assert [line for line in said if "no readable secret" in line] == said and len(said) == 1
        rabbitmq_image.make_secrets()
        rabbitmq_image.start()

    def test_only_amqp_is_open_to_the_network(rabbitmq_image: Rabbitmq) -> None:
        script = "awk '$4 == \"0A\" {print $2}' /proc/net/tcp /proc/net/tcp6"
        listening = set(rabbitmq_image.run("bash", "-c", script).split())
        loopback = ("0100007F:", "00000000000000000000000001000000:")
        assert {entry for entry in listening if not entry.startswith(loopback)} == {f"00000000:{5672:04X}"}

    def test_its_cookie_is_secret(rabbitmq_image: Rabbitmq) -> None:
        cookie = "/var/lib/rabbitmq/.erlang.cookie"
        assert len(rabbitmq_image.run("cat", cookie)) == 40
        assert rabbitmq_image.run("stat", "--format=%a %u", cookie) == "400 2102\n"

    def test_the_broker_ends_in_order(rabbitmq_image: Rabbitmq) -> None:
        assert rabbitmq_image.stop() == 0
