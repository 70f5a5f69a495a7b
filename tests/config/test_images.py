"""images/: the Dockerfiles, the entry points' refusals, and the content of images that are built."""

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = ["app", "nginx", "rabbitmq", "postgres", "prometheus"]
EX_CONFIG = 78


@pytest.fixture(params=SHIPPED)
def dockerfile(request: pytest.FixtureRequest) -> str:
    return (ROOT / "images" / request.param / "Dockerfile").read_text()


# --- Dockerfiles ---


def test_its_base_can_be_chosen(dockerfile: str) -> None:
    assert "\nARG BASE_IMAGE=debian:trixie-slim\n" in f"\n{dockerfile}"
    assert "# syntax=" not in dockerfile


def test_shipped_images_run_as_a_numeric_user(dockerfile: str) -> None:
    users = re.findall(r"^USER (.*)$", dockerfile, re.M)
    assert users and all(re.fullmatch(r"[1-9]\d*:[1-9]\d*", user) for user in users)


@pytest.mark.parametrize("name", ["app", "rabbitmq", "postgres", "prometheus"])
def test_copied_files_are_readable_whatever_the_clones_umask(name: str) -> None:
    dockerfile = (ROOT / "images" / name / "Dockerfile").read_text()
    for copy in re.findall(r"^COPY (.*)$", dockerfile, re.M):
        assert copy.startswith(
            ("--from=", "--chmod=", "app/requirements", "images/app/requirements", "app ", "packages ")
        ), copy
    if name == "app":
        for folder in ("app", "packages"):
            assert f"chmod --recursive u=rwX,go=rX /opt/sluice/{folder};" in dockerfile


def test_no_package_list_and_no_setuid_program_stays(dockerfile: str) -> None:
    assert "/var/lib/apt/lists/*" in dockerfile
    assert "-perm /6000 -exec chmod a-s {} +" in dockerfile


def test_python_comes_from_the_lock_files_and_the_sites_requirements_alone() -> None:
    text = (ROOT / "images/app/Dockerfile").read_text().replace("\\\n", " ")
    commands = [step for line in text.splitlines() for step in line.split(";")]
    pips = [step for step in commands if re.search(r"\bpip .*\b(install|download|wheel)\b", step)]
    ours = [step for step in pips if "--no-index" in step]  # the project's own packages
    assert len(ours) == 2 and all("--no-deps" in step for step in ours)
    (site,) = (step for step in pips if "--requirement requirements.txt" in step)
    assert "cd /opt/build/site" in text and "--no-cache-dir" in site
    locked = [step for step in pips if step not in (*ours, site)]
    assert len(locked) == 3
    for step in locked:
        assert "--require-hashes" in step and "--no-cache-dir" in step and "--only-binary :all:" in step
    assert (
        text.index("AS venv")
        < text.index("COPY images/app/requirements.txt")
        < text.index("COPY --from=needs /needs")
        < text.index("COPY --from=site / /opt/sluice/app")
    )


def test_the_stacks_packages_have_the_versions_of_the_sample_site() -> None:
    """Otherwise the image would download them twice, and tests of the site would use others."""
    files = ("images/app/requirements.txt", "app/requirements.txt", "app/requirements-async.txt")
    stack, *site = (
        dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / name).read_text(), re.M)) for name in files
    )
    locked = site[0] | site[1]
    assert len(stack) > 20
    assert {name: version for name, version in stack.items() if locked[name] != version} == {}


def test_a_build_never_sees_private_files() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for name in (".git", ".env", ".env.*", "/site.env", "images/base/ca-certificates/*", "**/*.sqlite3*"):
        assert name in ignored


# --- environment.sh ---


def checked(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one of its functions in a shell with only this environment."""
    return subprocess.run(
        ["/bin/bash", "-euc", f"SERVICE=test; . {ROOT}/images/lib/environment.sh; {code}"],
        env={"PATH": os.environ["PATH"]} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("known", ["SITE_URL URL_PREFIX", ""], ids=lambda known: known or "none")
@pytest.mark.parametrize("name", ["SITE_ULR", "URLPREFIX", "site_url", "FOO", "POSTGRES_PASSWORD"])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str, known: str) -> None:
    done = checked(f"refuse_unknown {known}", **dict.fromkeys(known.split(), "x"), **{name: "1"})
    assert done.returncode == EX_CONFIG
    answer = f"it has {known or 'none'}"
    assert done.stderr == f"sluice test: {name} is not a setting of this container; {answer}\n"


def test_variables_of_every_container_are_no_settings() -> None:
    system = ["HOME", "HOSTNAME", "TERM", "LANG", "LC_ALL", "TZ", "http_proxy", "HTTPS_PROXY", "container"]
    done = checked("refuse_unknown SITE_URL", **dict.fromkeys(system, "C"))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("value", ["/a/", "a", "/a\n/", "//", "/a b", "/ä"])
def test_a_malformed_value_is_one_line(value: str) -> None:
    done = checked("require_match URL_PREFIX '(/[a-z]+)*' 'it must be a path'", URL_PREFIX=value)
    assert done.returncode == EX_CONFIG
    assert re.fullmatch(r"sluice test: URL_PREFIX=[ -~]* is malformed: it must be a path\n", done.stderr)


@pytest.mark.parametrize("value", ["", "/a", "/a/b"])
def test_a_good_value_passes(value: str) -> None:
    done = checked("require_match URL_PREFIX '(/[a-z]+)*' 'it must be a path'", URL_PREFIX=value)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_secret_that_is_missing_ends_functions_within_functions_too() -> None:
    """By default Bash ignores `set -e` inside "$(...)": RabbitMQ got the hash of an empty password."""
    done = checked(
        'hash() { local password; password=$(require_secret none); echo "hash of $password"; };'
        ' main() { local hash; hash=$(hash); echo "{$hash}"; }; main'
    )
    assert (done.returncode, done.stdout) == (EX_CONFIG, "")
    assert done.stderr == (
        "sluice test: no readable secret /run/sluice/secrets/none:"
        " run the service init first, it creates missing secrets\n"
    )


def test_as_many_files_may_be_open_as_the_engine_allows_but_no_more_than_65536() -> None:
    assert checked("ulimit -Sn 100; ulimit -Hn 900; limit_open_files; ulimit -Sn").stdout == "900\n"
    assert int(checked("limit_open_files; ulimit -Sn").stdout) <= 65536


def test_a_low_limit_on_open_files_is_reported() -> None:
    done = checked("ulimit -Sn 1000; warn_open_files 5000 '2000 clients'; warn_open_files 900 '100 clients'")
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1 and "1000 files" in done.stderr and "2000 clients" in done.stderr


# --- http-health ---


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 0),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", 1),
        (b"HTTP/1.1 301 Moved\r\n\r\n", 1),
        (b"HTTP/1.1 2000\r\n\r\n", 1),
        (b"SSH-2.0\r\n", 1),
        (b"", 1),
    ],
)
def test_only_200_is_healthy(answer: bytes, status: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        check = subprocess.Popen(
            [ROOT / "images/lib/http-health", str(listener.getsockname()[1]), "/healthz", "example.org"],
            stdout=subprocess.PIPE,
            text=True,
        )
        connection, _ = listener.accept()
        with connection:
            with connection.makefile("rb") as lines:
                request = list(iter(lines.readline, b"\r\n"))
            connection.sendall(answer)
        assert request[:2] == [b"GET /healthz HTTP/1.1\r\n", b"Host: example.org\r\n"]
        assert check.wait(5) == status
        assert check.communicate()[0].strip() == answer.decode().strip()


def test_a_closed_port_and_a_silent_one_are_unhealthy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [str(ROOT / "images/lib/http-health"), str(listener.getsockname()[1]), "/healthz"]
        assert subprocess.run(command, capture_output=True, timeout=5, check=False).returncode != 0
    assert subprocess.run(command, capture_output=True, timeout=5, check=False).returncode != 0


# --- heartbeat ---


@pytest.mark.parametrize(("age", "status"), [(0, 0), (12, 0), (16, 1), (None, 1)])
def test_a_heartbeat_is_young(age: int | None, status: int) -> None:
    name = f"sluice-test-{os.getpid()}"
    file = Path(f"/tmp/{name}.alive")
    if age is not None:
        file.touch()
        os.utime(file, (time.time() - age, time.time() - age))
    try:
        done = subprocess.run(
            [ROOT / "images/app/heartbeat", name], capture_output=True, timeout=5, check=False
        )
    finally:
        file.unlink(missing_ok=True)
    assert done.returncode == status


# --- the images, if they are built ---


def _built() -> list[str]:
    """The shipped images with the tested tag, or none if some are missing."""
    tag = os.environ.get("SLUICE_IMAGE_TAG", "latest")
    names = [f"sluice-{name}:{tag}" for name in ("wsgi", "asgi", "worker", "nginx", "rabbitmq", "postgres")]
    listed = subprocess.run(
        ["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return names if set(names) <= set(listed.stdout.splitlines()) else []


# Without images these tests don't exist, rather than being skipped. `make e2e` builds the images and tests
# the same in a running stack.
if BUILT := _built():

    def run(image: str, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Run a container of `image` as compose.yaml does, but without volumes and networks."""
        hardened = (
            "--rm --network none --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges"
        )
        return subprocess.run(
            ["docker", "run", *hardened.split(), *options, image, *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    @pytest.fixture(scope="module", autouse=True)
    def doomed() -> Iterator[subprocess.Popen[str]]:
        """A Gunicorn that can't start, restarted repeatedly while the other tests run."""
        (image,) = (name for name in BUILT if name.startswith("sluice-wsgi:"))
        options = (
            "--rm --network none --read-only --tmpfs /tmp --env DEBUG=yes --env GUNICORN_CMD_ARGS=--bogus"
        )
        process = subprocess.Popen(
            ["docker", "run", *options.split(), image],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        yield process
        process.terminate()
        process.wait(30)

    @pytest.fixture(params=BUILT)
    def image(request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def inspected(image: str) -> dict[str, Any]:
        done = subprocess.run(
            ["docker", "image", "inspect", image], capture_output=True, text=True, check=True
        )
        found: dict[str, Any] = json.loads(done.stdout)[0]
        return found

    def test_its_labels_describe_it(inspected: dict[str, Any]) -> None:
        labels = inspected["Config"]["Labels"]
        software = {"sluice-postgres": "17", "sluice-rabbitmq": "4.0"}  # see their Dockerfiles
        version = software.get(
            labels["org.opencontainers.image.title"], (ROOT / "VERSION").read_text().strip()
        )
        assert labels["org.opencontainers.image.version"] == version
        assert "BSD-3-Clause" in labels["org.opencontainers.image.licenses"]
        assert inspected["RepoTags"][0].startswith(labels["org.opencontainers.image.title"])

    def test_its_entry_point_and_user_are_set(inspected: dict[str, Any]) -> None:
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", inspected["Config"]["User"])
        assert inspected["Config"]["Entrypoint"] and inspected["Config"]["Cmd"]

    def test_no_secret_is_in_its_environment(inspected: dict[str, Any]) -> None:
        assert not [
            entry for entry in inspected["Config"]["Env"] if re.search("PASSWORD|SECRET|TOKEN|KEY", entry)
        ]

    def test_an_unknown_setting_ends_it_with_one_line(image: str) -> None:
        done = run(
            image,
            options=("--env", "URL_PREFIXX=/a", "--env", "DEBUG=yes" if "nginx" not in image else "TZ=UTC"),
        )
        assert done.returncode == EX_CONFIG
        lines = [line for line in done.stderr.splitlines() if "URL_PREFIXX" in line or "DEBUG" in line]
        assert lines and done.stdout == ""
        assert re.match(r"sluice \w+: \w+ is not a setting of this container; ", lines[0])

    def test_nothing_in_it_raises_privileges_or_helps_an_intruder(image: str) -> None:
        """No setuid program, no compiler, no pip, no private key or cookie, no leftovers of apt and pip."""
        script = r"""
            find / -xdev \( -type f -perm /6000 -print \) \
                -o \( -path '*/ssl/private/*' -type f -print \) -o \( -name '.erlang.cookie' -print \) \
                -o \( -name 'ssh_host_*' -print \) -o \( -path '/var/lib/apt/lists/*' -type f -print \) \
                -o \( -path '*/.cache/*' -type f -print \) 2>/dev/null
            for program in gcc cc make git curl wget pip pip3 ssh; do command -v "$program"; done
            true
        """
        done = run(image, "-c", script, options=("--user", "0:0", "--entrypoint", "/bin/bash"))
        assert (done.returncode, done.stdout) == (0, "")

    def test_nothing_in_it_can_be_written_by_its_user(image: str, inspected: dict[str, Any]) -> None:
        script = "find / -xdev -writable -not -type l -not -path '/proc/*' 2>/dev/null"
        done = run(
            image, "-c", script, options=("--user", inspected["Config"]["User"], "--entrypoint", "/bin/bash")
        )
        volumes = (
            "/tmp",
            "/var/tmp",
            "/run/lock",
            "/dev",
            "/var/lib/sluice/",
            "/var/lib/rabbitmq",
            "/var/lib/postgresql/data",
        )
        assert [path for path in done.stdout.splitlines() if not path.startswith(volumes)] == []

    def test_a_program_that_fails_for_good_ends_its_container_with_70(doomed: subprocess.Popen[str]) -> None:
        output, _ = doomed.communicate(timeout=60)
        assert doomed.returncode == 70
        assert "processname:gunicorn" in output and "failed for good, ending the container" in output

    def test_a_program_of_another_image_is_refused() -> None:
        (image,) = (name for name in BUILT if name.startswith("sluice-worker:"))
        done = run(image, "supervise", "daphne", options=("--env", "DEBUG=yes"))
        assert done.returncode == EX_CONFIG
        assert done.stderr.endswith("no program 'daphne'; it has beat, celery, channels-worker\n")
