"""The messages of `make up` when it can't continue: one sentence with the fix, and an exit status other than
0.
"""

import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from config.host_shell import BASE, SOURCE, elsewhere, sentence, sh
from harness.engine import own_image


def test_without_an_engine_and_without_leave_to_install_one() -> None:
    said = sentence(elsewhere(BASE, "scripts/up", options=("--env", "INSTALL_ENGINE=no")))
    assert re.search(
        r"missing: docker\.io .*INSTALL_ENGINE=no forbids installing them: install Docker Engine 25\.0", said
    )


def test_without_an_engine_and_without_root() -> None:
    said = sentence(elsewhere(BASE, "scripts/up", options=("--user", "1000")))
    assert said.endswith("Installing them needs root: run `sudo make up`.")


@pytest.mark.parametrize("script", ["down", "logs", "password", "certificate", "clean"])
def test_without_an_engine_each_script_names_the_fix(script: str) -> None:
    said = sentence(elsewhere(BASE, f"scripts/{script}"))
    assert said == "There is no docker on this machine: `make up` installs it."


def test_a_system_that_is_not_debian_12_or_13() -> None:
    change = "sed -i s/trixie/sid/ /etc/os-release && scripts/up"
    said = sentence(elsewhere(BASE, "bash", "-c", change))
    assert said.startswith("make installs the engine on Debian 12 and 13 only, this is Debian")


def test_no_rights_on_the_socket() -> None:
    said = sentence(elsewhere(own_image(), "scripts/up", options=("--user", "1000:1000")))
    assert (
        "may not use the engine's socket /var/run/docker.sock: run `sudo make …`, or join the group docker"
        in said
    )


def test_a_client_but_no_engine() -> None:
    said = sentence(
        elsewhere(own_image(), "scripts/down", options=("--env", "DOCKER_HOST=unix:///nowhere.sock"))
    )
    assert said.startswith("DOCKER_HOST=unix:///nowhere.sock is set, but no engine answers there")


def test_an_engine_on_another_machine() -> None:
    said = sentence(
        elsewhere(own_image(), "scripts/up", options=("--env", "DOCKER_HOST=tcp://192.0.2.1:2375"))
    )
    assert said.startswith(
        "DOCKER_HOST points to another engine (tcp://192.0.2.1:2375), but make works only with this machine's"
    )


@pytest.mark.parametrize(
    ("have", "least", "enough"),
    [
        ("26.1.5+dfsg1", "25.0", True),
        ("25.0", "25.0", True),
        ("20.10.24+dfsg1", "25.0", False),
        ("v2.24.0", "2.24", True),
        ("2.26.1-4", "2.24", True),
        ("v2.9.0", "2.24", False),
        ("0.13.1+ds1", "0.12", True),
    ],
)
def test_versions_are_compared_by_their_numbers(have: str, least: str, enough: bool) -> None:
    assert (sh(f"version_at_least {have} {least}").returncode == 0) is enough


def test_an_engine_that_is_too_old_is_named_with_the_minimum() -> None:
    said = sentence(sh("engine_version=20.10.24+dfsg1; require_engine_version"))
    assert said.startswith("Docker Engine 20.10.24+dfsg1 is too old, 25.0 is the minimum: ")


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A loopback port on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1", "localhost"])
def test_the_process_on_a_port_is_named(taken_port: int, address: str) -> None:
    assert f"(process {os.getpid()})" in sh(f"listener {address} {taken_port}").stdout


def test_the_same_port_of_another_address_is_free(taken_port: int) -> None:
    assert sh(f"listener 127.0.0.2 {taken_port}").stdout == ""


def test_a_port_on_every_address_of_ipv6_is_taken_for_ipv4() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        assert f"(process {os.getpid()})" in sh(f"listener 127.0.0.1 {server.getsockname()[1]}").stdout


def test_a_taken_port_is_reported_with_the_fix(taken_port: int) -> None:
    said = sentence(sh(f"check_port HTTP_PORT {taken_port} no-such-project"))
    assert said.startswith(f"Port {taken_port} on 127.0.0.1 is taken by ")
    assert f"`make up HTTP_PORT={taken_port + 1}`" in said


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1", "08080x"])
def test_a_port_that_is_none(port: str) -> None:
    said = sentence(elsewhere(BASE, "scripts/up", options=("--env", f"HTTP_PORT={port}")))
    assert said == f"HTTP_PORT={port} is not a port: it must be a number from 1 to 65535."


def test_a_full_disk() -> None:
    said = sentence(sh("docker() { echo /; }; check_disk 1000000000"))
    assert re.search(r"has \d+ GB free, and 1000000000 GB are needed: make room", said)


def test_a_folder_of_certificates_that_is_not_there() -> None:
    said = sentence(sh("pass_certificates", env={"CA_CERTIFICATES": "/nowhere"}))
    assert said.startswith("CA_CERTIFICATES=/nowhere is not a folder")


def test_a_setting_that_is_none_is_refused_before_anything_is_built() -> None:
    done = elsewhere(BASE, "bash", "-c", "echo SITE_ULR=x > .env; scripts/up")
    assert sentence(done) == ".env sets SITE_ULR, which is not a setting: .env.example lists all of them."


@pytest.mark.parametrize("url", ["sluice.example.org", "https://a b:8443", "https://a.example/catmaid"])
def test_an_address_that_is_none_is_not_written_into_env(url: str) -> None:
    options = ("--env", "TLS=self-signed", "--env", f"SITE_URL={url}")
    done = elsewhere(BASE, "bash", "-c", "scripts/up; test -e .env && echo written", options=options)
    assert sentence(done).startswith(
        f"SITE_URL={url} is not a site's address: it must be http:// or https://"
    )


@pytest.mark.parametrize("url", ["https://[::1]:8443", "https://Sluice.example.org/", "https://192.0.2.7"])
def test_an_address_that_is_one(url: str) -> None:
    options = ("--env", "TLS=self-signed", "--env", f"SITE_URL={url}", "--env", "INSTALL_ENGINE=no")
    assert f"Wrote SITE_URL={url} to .env." in elsewhere(BASE, "scripts/up", options=options).stdout


def test_an_unknown_setting_on_makes_command_line_is_refused_too() -> None:
    given = ("--env", "MAKEFLAGS= -- HTTP_PORT=8081 URL_PREFX=/x")
    said = sentence(elsewhere(BASE, "scripts/up", options=given))
    assert said == "make sets URL_PREFX, which is not a setting: .env.example lists all of them."


def test_the_minimums_that_are_documented_are_those_that_are_checked() -> None:
    minimums = sh('printf %s "$minimums"').stdout
    for page in ("README.md", "docs/how-to/getting-started.md"):
        assert minimums in (SOURCE / page).read_text(), page


def test_asking_is_for_terminals_only() -> None:
    """CI has no terminal and must continue."""
    assert sh("go_on 'Really?' n && echo went on").stdout == "went on\n"


@pytest.mark.parametrize(
    ("answer", "goes_on"), [("y\n", True), ("\n", True), ("n\n", False), ("x\n", False), ("", False)]
)
def test_at_a_terminal_the_answer_counts(answer: str, goes_on: bool) -> None:
    master, slave = os.openpty()
    code = ". scripts/lib/common.sh; go_on 'Go on?' && exit 0; exit 3"
    process = subprocess.Popen(["bash", "-c", code], stdin=slave, stdout=slave, stderr=slave, cwd=SOURCE)
    os.close(slave)
    # End of file (Ctrl-D) means no.
    os.write(master, (answer or "\x04").encode())
    reader = threading.Thread(target=_drain, args=(master,), daemon=True)
    reader.start()
    assert process.wait(timeout=20) == (0 if goes_on else 3)
    os.close(master)


def _drain(handle: int) -> None:
    try:
        while os.read(handle, 1024):
            pass
    except OSError:
        return
