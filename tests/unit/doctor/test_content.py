"""On a correct host, the doctor reports success and leaves nothing behind. Also the command's options."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from unit.doctor.house import House

from config.nginx_lab import SOURCE
from sluice_stack.doctor import checks

PLAIN = Path("/opt/sluice/plain/bin/python")


@pytest.mark.usefixtures("alone")
def test_it_passes_on_a_host_that_was_set_up_by_the_guide(house: House, front: str) -> None:
    for program in house.programs:  # other tests may just have restarted the broker
        house.recover(program)
    said = house.doctor("--at", front, "--clients", "100")
    assert (said.bad, said.code) == ([], 0)
    out = [one for one in said.findings if one["verdict"] == "skipped"]
    # Here the doctor can't know whether pytest restarts a program: tests/bare_metal/test_supervisord.py tests
    # that.
    assert {one["check"] for one in out} == {"programs", "front-certificate"}
    assert set(checks.names()) == {one["check"] for one in said.findings}
    assert house.sql("SELECT count(*) FROM auth_user WHERE username LIKE 'doctor-%'") == [(0,)]
    assert house.sql("SELECT count(*) FROM sluice_updates_session") == [(0,)]


def test_no_secret_is_written(house: House, front: str) -> None:
    secrets = [path.read_text() for path in (house.etc / "secrets").iterdir()]
    with (
        house.edited("daphne.env", "//layer@", "//nobody@"),
        house.edited("beat.env", "//beat@", "//nobody@"),
    ):
        quick = [name for name in checks.names() if name != "push-idle"]
        for as_json in (True, False):
            said = house.doctor("--at", front, "--only", *quick, as_json=as_json)
            assert said.code == 1
            assert not [one for one in secrets if one in said.output + said.errors]


def test_the_document_has_every_check_in_their_order() -> None:
    page = (SOURCE / "docs/reference/doctor.md").read_text()
    table = page[page.index("## The checks") :]
    assert re.findall(r"^\| `([a-z0-9-]+)` \|", table, re.MULTILINE) == checks.names()
    assert all(re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", name) for name in checks.names())


def test_the_document_has_every_option(house: House) -> None:
    page = (SOURCE / "docs/reference/doctor.md").read_text()
    own = house.python("manage.py", "doctor", "--help").split("options:")[1].split("--version")[0]
    assert set(re.findall(r"--[a-z-]+", own)) - {"--help"} == set(
        re.findall(r"^\| `(--[a-z-]+)", page, re.MULTILINE)
    )


def test_a_defect_of_its_own_hides_nothing_that_the_others_find(house: House, front: str) -> None:
    (house.app / "mysite/sessionless.py").write_text(
        'from mysite.settings import *\n\nSESSION_ENGINE = "nowhere"\n'
    )
    said = house.doctor(
        "--at", front, "--only", "push-hello", "push-origin",
        environment={"DJANGO_SETTINGS_MODULE": "mysite.sessionless"},
    )  # fmt: skip
    assert said.of("push-hello")["message"].startswith("the doctor itself failed: ModuleNotFoundError")
    assert "report it" in said.of("push-hello")["fix"]
    assert said.of("push-origin")["verdict"] == "passed"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "nothing"], "no such check: nothing"),
        (["ftp://x/"], "is not an address such as"),
        (["--at", "::"], "is not an address such as"),
        (["--clients", "many"], "invalid int value"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(house: House, arguments: list[str], words: str) -> None:
    said = house.doctor(*arguments)
    assert (said.code, said.output) == (2, "") and words in said.errors


def test_the_text_output_is_a_line_per_finding_with_the_fix_below(house: House) -> None:
    said = house.doctor("--only", "front-answers", "database-reachable", "--at", "127.0.0.1:1", as_json=False)
    first, fix, *others = said.output.splitlines()
    assert first == "failed    front-answers: 127.0.0.1:1 does not answer: the connection is refused"
    assert fix.startswith("          → start nginx")
    assert any(line.startswith("passed    database-reachable [5 places]: PostgreSQL") for line in others)
    assert others[-1] == "sluice doctor: 1 failed, 5 passed"
    quiet = house.doctor("--only", "database-reachable", "--quiet", as_json=False)
    assert (quiet.output, quiet.code) == ("sluice doctor: 5 passed\n", 0)


def test_without_pushs_packages_it_reports_that_and_checks_the_rest(house: House, front: str) -> None:
    assert PLAIN.exists(), "use `make test`, which runs in an image that has it"
    with house.without("daphne"):
        said = house.doctor("--at", front, "--clients", "100", python=str(PLAIN))
    assert (said.bad, said.code) == ([], 0)
    out = {one["check"] for one in said.findings if one["verdict"] == "skipped"}
    assert {"push-installed", "push-upgrade", "push-idle", "broker-login", "layer-round-trip"} <= out
    assert "pages poll" in said.of("push-installed")["message"]
    assert {said.of(check)["verdict"] for check in ("front-pages", "split-site", "database-rights")} == {
        "passed"
    }


def test_one_program_sees_its_own_settings_as_in_a_container(house: House, front: str) -> None:
    """SLUICE_SERVICE makes the doctor act as in a container: the role asgi can't create a user."""
    own = dict(
        line.split("=", 1)
        for name in ("sluice", "daphne")
        for line in (house.etc / f"{name}.env").read_text().splitlines()
        if re.match("[A-Z]", line)
    )
    said = house.doctor(
        "--at", front, "--only", "push-hello", "database-rights",
        environment={**own, "SLUICE_SERVICE": "asgi"},
    )  # fmt: skip
    assert said.of("push-hello")["message"].startswith("this program's role may create no user")
    assert {one["where"] for one in said.findings if one["check"] == "database-rights"} == {"asgi"}
