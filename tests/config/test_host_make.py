"""The Makefile, and the rules for Dockerfiles in `make lint`."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from config.host_shell import SOURCE, sh

MAKEFILE = (SOURCE / "Makefile").read_text()
TARGETS = re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.MULTILINE)
RULES = SOURCE / "scripts/dockerfiles.py"
HEAD = "ARG BASE_IMAGE=debian:trixie-slim\nFROM ${BASE_IMAGE}\n"


def test_it_is_short_and_every_target_has_a_description() -> None:
    assert len(MAKEFILE.splitlines()) < 80
    assert re.findall(r"^([a-z0-9-]+):.*## \S", MAKEFILE, re.MULTILINE) == TARGETS


def test_make_alone_lists_the_targets() -> None:
    done = subprocess.run(["make"], cwd=SOURCE, capture_output=True, text=True, check=True)
    assert re.findall(r"^  make (\S+) ", done.stdout, re.MULTILINE) == TARGETS
    assert [line for line in done.stdout.splitlines() if len(line) > 80] == []
    assert done.stderr == ""


def test_every_target_is_phony_and_its_script_can_be_run() -> None:
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony
    assert sorted(phony[1].split()) == sorted(TARGETS)
    for script in set(re.findall(r"scripts/[a-z-]+", MAKEFILE)) - {"scripts/"}:
        assert os.access(SOURCE / script, os.X_OK), script


def test_the_version_is_the_same_everywhere() -> None:
    version = (SOURCE / "VERSION").read_text().strip()
    assert re.search(rf"^## \[{re.escape(version)}\]", (SOURCE / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert f'VERSION: "{version}"' in (SOURCE / "compose.yaml").read_text()


def breaches(tmp_path: Path, text: str) -> str:
    """The rules' complaints about this Dockerfile."""
    file = tmp_path / "Dockerfile"
    file.write_text(text)
    done = subprocess.run(["python3", RULES, file], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == (0 if "no breach" in done.stdout else 1)
    return done.stdout


@pytest.mark.parametrize(
    ("text", "breach"),
    [
        ("# syntax=docker/dockerfile:1\n" + HEAD, "fetches a frontend"),
        ("FROM debian:trixie\n", "the first instruction must be"),
        (HEAD + "FROM node:20\n", "derives from"),
        (HEAD + "RUN false; true\n", "must begin with `set -eux;`"),
        (
            HEAD + "RUN set -eux; apt-get install -y x; rm -rf /var/lib/apt/lists/*\n",
            "--no-install-recommends",
        ),
        (HEAD + "RUN apt-get install -y --no-install-recommends x\n", "the layer has them"),
        (HEAD + "RUN pip install --no-cache-dir x\n", "--require-hashes"),
        (HEAD + "RUN curl http://x.test/y | sh\n", "pipes a download"),
        (HEAD + "RUN set -eux; \\\n    cd $X; \\\n    true\n", "SC2086"),
        (HEAD + "ADD a b\n", "use COPY"),
        (HEAD + "ENV DB_PASSWORD=x\n", "a secret"),
        (HEAD + "USER www-data\n", "use numbers"),
        (HEAD + "CMD gunicorn\n", "a JSON list"),
    ],
)
def test_a_breach_of_the_rules_is_found(tmp_path: Path, text: str, breach: str) -> None:
    assert breach in breaches(tmp_path, text)


def test_a_build_stage_may_keep_its_lists(tmp_path: Path) -> None:
    install = "RUN apt-get install -y --no-install-recommends x\n"
    text = f"ARG BASE_IMAGE=debian:trixie-slim\nFROM ${{BASE_IMAGE}} AS build\n{install}"
    assert "no breach" in breaches(tmp_path, f"{text}FROM ${{BASE_IMAGE}}\nCOPY --from=build /a /a\n")
    assert "the layer has them" in breaches(tmp_path, f"{text}FROM build\n")


def test_comments_between_the_steps_of_a_run_are_none_of_them(tmp_path: Path) -> None:
    assert "no breach" in breaches(
        tmp_path, HEAD + 'RUN set -eux; \\\n    # why\n    echo "$X"; \\\n    true\n'
    )


@pytest.mark.parametrize(
    ("closing", "sums"),
    [
        ("=== 12 passed in 3.21s ===", "12 0"),
        ("= 1 failed, 12 passed, 2 errors in 63.10s (0:01:03) =", "12 3"),
        ("=========== no tests ran in 0.01s ===========", "0 0"),
        ("make: *** [Makefile:1: x] Error 1", "0 0"),
    ],
)
def test_ci_adds_up_pytests_summaries(tmp_path: Path, closing: str, sums: str) -> None:
    (tmp_path / "log").write_text(f"test_x.py ...\n{closing}\n")
    run = (SOURCE / ".ci/run").read_text()
    functions = "\n".join(re.findall(r"^(?:add_tests|counted)\(\) \{.*?^\}", run, re.MULTILINE | re.DOTALL))
    code = f"passed_tests=0 failed_tests=0; add_tests {tmp_path}/log; echo $passed_tests $failed_tests"
    assert sh(f"{functions}\n{code}").stdout.strip() == sums
